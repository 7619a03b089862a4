"""Grids of panels and their legends."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.plotting import style
from experiments.plotting.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = TypeVar("Rows", bound=Sized)


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


def in_words(counts: Iterable[float]) -> str:
    """``n = 3``, or ``n = 2 to 3`` where lines differ.

    >>> in_words([3, 3]), in_words([3, 2])
    ('n = 3', 'n = 2 to 3')
    """
    counts = [int(count) for count in counts]
    low, high = min(counts), max(counts)
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def require(rows: Rows, what: str) -> Rows:
    """``rows``, or ValueError when there are none of them."""
    if not len(rows):
        raise ValueError(f"nothing to draw: no run has {what}")
    return rows


def grid(rows: int, columns: int, *, width: float, height: float, extra: float = 0.0, **share):
    """A figure of its own, without pyplot, and its axes ``[rows, columns]``.

    ``width`` and ``height`` are those of a panel in inches, ``extra`` is height for legends and
    long tick labels; ``share`` goes on to ``Figure.subplots``, as ``sharex=True``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows + extra + 0.6), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **share)


def wrapped(count: int, columns: int, **size: Any) -> tuple["Figure", list["Axes"]]:
    """A figure with ``count`` panels in rows of ``columns``, and its axes in order."""
    figure, axes = grid(-(-count // columns), columns, **size)
    for ax in axes.flat[count:]:
        ax.remove()
    return figure, list(axes.flat[:count])


def without_markers(looks: Mapping[str, Look]) -> dict[str, Look]:
    """The same looks as bare lines."""
    return {label: {**look, "marker": None} for label, look in looks.items()}


def legend(figure: "Figure", looks: Mapping[str, Look]) -> None:
    """One legend for all panels, above them, in as few rows as fit."""
    from matplotlib.lines import Line2D

    inches = 0.6 + 0.075 * max(map(len, looks))
    rows = math.ceil(len(looks) / max(1, figure.get_figwidth() // inches))
    lines = [Line2D([], [], **look) for look in looks.values()]
    names = [style.plain(label) for label in looks]
    figure.legend(lines, names, loc="outside upper center", ncols=math.ceil(len(looks) / rows))


def legend_beside(ax: "Axes", **kwargs: Any) -> None:
    """The legend of a panel at its right: many entries would hide the lines."""
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), **kwargs)
