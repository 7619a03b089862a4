"""How the figures look: legible in print and on screen, safe for colour-blind readers."""

import itertools
from collections.abc import Iterable
from typing import Any

Look = dict[str, Any]
"""Keywords of ``Axes.plot``."""

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

# Okabe-Ito without its yellow, then six more, each with its own marker; a method looks the same in
# every figure.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9",
    "#E69F00", "#7A5195", "#882255", "#332288", "#8C6D31", "#6A8F00", "#00706E",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "d")
_METHODS = (
    "ntksap", "snip", "synflow", "grasp", "random",
    "magnitude", "itersnip", "px", "pxact", "synflow_l2", "lamp", "imc",
)  # fmt: skip
_LINES = {"none": "-", "shuffle": (0, (4, 1.5)), "reinit": (0, (1, 1.2)), "invert": "-."}

CLASSES = (
    "#141414", *COLORS, "#AAEA6A", "#FF556A", "#2A8000", "#FFD495", "#00EAEA", "#8080FF",
    "#15EA95", "#FF95FF", "#959500", "#D4BFFF", "#AAD495", "#800000",
)  # fmt: skip
"""Colours of what a picture shows, by class; the first is mostly the background."""

_DASHES = ((0, (4, 1.8)), (0, (1.2, 1.3)), (0, (7, 1.5, 1.2, 1.5)), (0, (2.5, 0.8)))


def line_styles(methods: Iterable[tuple[str, str, str]]) -> dict[str, Look]:
    """Keywords of ``Axes.plot`` by label, from (base, control, label) triples.

    The base method decides colour and marker, its control line and filling; where several labels
    share both, the later ones take colours that no base method needs.
    """
    triples = sorted(set(methods), key=_rank)
    bases = dict.fromkeys(base for base, _, _ in triples if base != "dense")
    used = {_METHODS.index(base) for base in bases if base in _METHODS}
    free = itertools.cycle([i for i in range(len(COLORS)) if i not in used] or [0])
    own = {base: _METHODS.index(base) if base in _METHODS else next(free) for base in bases}
    dense_lines = itertools.cycle(("--", ":", "-."))
    looks: dict[str, Look] = {}
    taken = set()
    for base, control, label in triples:
        index = next(free) if (base, control) in taken else own.get(base, 0)
        taken.add((base, control))
        dense = base == "dense"
        looks[label] = _dense(next(dense_lines)) if dense else _look(index, control)
    return looks


def _dense(line: str) -> Look:
    """A grey line without markers."""
    return {"color": DENSE, "linestyle": line, "marker": None, "markersize": 4.5}


def _look(index: int, control: str) -> Look:
    """Colour and marker ``index``; a control has its own line and hollow markers."""
    color = COLORS[index % len(COLORS)]
    return {
        "color": color,
        "linestyle": _LINES.get(control, "-"),
        "marker": MARKERS[index % len(MARKERS)],
        "markerfacecolor": color if control == "none" else "white",
        "markersize": 4.5,
    }


def numbered(names: Iterable[str]) -> dict[str, Look]:
    """A look for every name, in order of appearance: of curves that are no methods."""
    return {
        name: {
            "color": COLORS[i % len(COLORS)],
            "marker": MARKERS[i % len(MARKERS)],
            "linestyle": "-",
            "markersize": 3.5,
            "linewidth": 1.2,
        }
        for i, name in enumerate(dict.fromkeys(names))
    }


def published(look: Look, number: int) -> Look:
    """``look`` as a thin, pale, dashed line without markers; one dash pattern per source."""
    dashes = _DASHES[number % len(_DASHES)]
    pale = {"linestyle": dashes, "linewidth": 0.9, "alpha": 0.6, "marker": None, "zorder": 1.5}
    return {"color": look["color"], **pale}


def _rank(triple: tuple[str, str, str]) -> tuple[int, str, str, str]:
    """Known methods first, in their order; a control after its method; dense last."""
    base, control, label = triple
    known = _METHODS.index(base) if base in _METHODS else len(_METHODS)
    return known + 10 * (base == "dense"), base, "" if control == "none" else control, label


def plain(text: str) -> str:
    """``text`` as matplotlib has to get it to draw exactly that: dollars start no formula."""
    return text.replace("$", r"\$")
