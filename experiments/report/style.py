"""How the figures look: legible in print and on screen, safe for colour-blind readers."""

import itertools
from collections.abc import Iterable
from typing import Any

RC: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # editable text
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}

DENSE = "#333333"

# Okabe-Ito without its yellow, each with its own marker; a method looks the same in every figure.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7A5195", "#8C6D31")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_METHODS = ("ntksap", "snip", "synflow", "grasp", "random", "magnitude", "itersnip", "px")
_LINES = {"none": "-", "shuffle": (0, (4, 1.5)), "reinit": (0, (1, 1.2)), "invert": "-."}


def line_styles(methods: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, Any]]:
    """Keywords of ``Axes.plot`` by label, from (base, control, label) triples.

    The base method decides colour and marker, its control line and filling; where several labels
    share both, the later ones take colours that no base method needs.
    """
    triples = sorted(set(methods), key=_rank)
    bases = dict.fromkeys(base for base, _, _ in triples if base != "dense")
    used = {_METHODS.index(base) for base in bases if base in _METHODS}
    free = itertools.cycle([i for i in range(len(_COLORS)) if i not in used] or [0])
    own = {base: _METHODS.index(base) if base in _METHODS else next(free) for base in bases}
    dense_lines = itertools.cycle(("--", ":", "-."))
    styles: dict[str, dict[str, Any]] = {}
    taken = set()
    for base, control, label in triples:
        index = next(free) if (base, control) in taken else own.get(base, 0)
        taken.add((base, control))
        color = DENSE if base == "dense" else _COLORS[index % len(_COLORS)]
        styles[label] = {
            "color": color,
            "linestyle": next(dense_lines) if base == "dense" else _LINES.get(control, "-"),
            "marker": None if base == "dense" else _MARKERS[index % len(_MARKERS)],
            "markerfacecolor": color if control == "none" else "white",
            "markersize": 4.5,
        }
    return styles


def _rank(triple: tuple[str, str, str]) -> tuple[int, str, str, str]:
    """Known methods first, in their order; a control after its method; dense last."""
    base, control, label = triple
    known = _METHODS.index(base) if base in _METHODS else len(_METHODS)
    return known + 10 * (base == "dense"), base, "" if control == "none" else control, label


def plain(text: str) -> str:
    """``text`` as matplotlib has to get it to draw exactly that: dollars start no formula."""
    return text.replace("$", r"\$")
