"""What the figures share: a grid with one panel per density, one legend, one look per method."""

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from experiments.report import style
from experiments.report.runs import Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Look = dict[str, Any]
"""Keywords of ``Axes.plot``."""


def styled(draw: Callable[..., "Figure"]) -> Callable[..., "Figure"]:
    """``draw`` under this project's style, whatever style the caller has set."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs) -> "Figure":
        import matplotlib

        with matplotlib.rc_context(style.RC):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()  # ticks take their style when they are made
        return figure

    return drawn


def in_words(counts: Frame) -> str:
    """``n = 3``, or ``n = 2 to 3`` where lines differ."""
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def within(ax: "Axes", least: float, most: float = math.inf) -> None:
    """Cut the vertical axis at what is possible: intervals of few runs may reach beyond."""
    low, high = ax.get_ylim()
    room = 0.02 * (min(high, most) - max(low, least))  # for a marker on the edge
    ax.set_ylim(max(low, least - room), min(high, most + room))


def require(frame: Frame, what: str) -> Frame:
    """``frame``, or ValueError when it has no rows."""
    if not len(frame):
        raise ValueError(f"nothing to draw: no run has {what}")
    return frame


def grid(rows: int, columns: int, *, width: float, height: float, extra: float = 0.0, **share):
    """A figure of its own, without pyplot, and its axes ``[rows, columns]``; inches per panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + extra + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def levels(frame: Frame, with_dense: bool = False) -> list[tuple[str, Frame]]:
    """``(title, rows)`` of each data, model and density below 1, the densest first.

    ``with_dense`` adds the dense runs of the same data and model to each of them. Where nothing is
    pruned, the dense runs are the only level.
    """
    found = []
    for (data, model), group in frame.groupby(["data", "model"], sort=False):
        words = [data] * (frame["data"].nunique() > 1) + [model] * (frame["model"].nunique() > 1)
        is_dense = group["density"] == 1
        for density in sorted(set(group["density"][~is_dense]) or {1.0}, reverse=True):
            shown = (group["density"] == density) | (is_dense & with_dense)
            found.append((", ".join([*words, f"density {100 * density:.3g} %"]), group[shown]))
    return found


def replicates(group: Frame) -> str:
    """How many seeds the lines of a panel stand for."""
    return in_words(group.groupby("method")["seed"].nunique())


def looks(frame: Frame) -> dict[str, Look]:
    """The look of every method label of ``frame``, in the order of the legend."""
    return style.line_styles(zip(frame["base"], frame["control"], frame["method"], strict=True))


def present(looks: dict[str, Look], group: Frame) -> list[tuple[str, Look]]:
    """The labels that occur in ``group``, with their looks."""
    return [(label, look) for label, look in looks.items() if label in set(group["method"])]


def without_markers(looks: dict[str, Look]) -> dict[str, Look]:
    """The same looks as bare lines."""
    return {label: {**look, "marker": None} for label, look in looks.items()}


def legend(figure: "Figure", looks: dict[str, Look]) -> None:
    """One legend for all panels, above them, in as few rows as fit."""
    from matplotlib.lines import Line2D

    inches = 0.6 + 0.075 * max(map(len, looks))
    rows = math.ceil(len(looks) / max(1, figure.get_figwidth() // inches))
    lines = [Line2D([], [], **look) for look in looks.values()]
    names = [style.plain(label) for label in looks]
    figure.legend(lines, names, loc="outside upper center", ncols=math.ceil(len(looks) / rows))
