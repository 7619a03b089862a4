"""Scales and ticks of axes."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def within(ax: "Axes", least: float, most: float = math.inf) -> None:
    """Cut the vertical axis at what is possible: intervals of few runs may reach beyond."""
    low, high = ax.get_ylim()
    room = 0.02 * (min(high, most) - max(low, least))  # for a marker on the edge
    ax.set_ylim(max(low, least - room), min(high, most + room))


def sideways(number: int, count: int, factor: float) -> float:
    """By what to multiply the x of line ``number`` of ``count``, so that bars of neighbouring lines
    lie ``factor`` apart on a logarithmic axis and do not hide each other.

    >>> [sideways(i, 3, 2.0) for i in range(3)]
    [0.5, 1.0, 2.0]
    """
    return factor ** (number - (count - 1) / 2)


def density_axis(ax: "Axes", densities: Iterable[float]) -> None:
    """Horizontal log axis in per cent, sparser to the right, with a tick at every density if they
    are few."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    ax.set_xscale("log")
    levels = _apart(sorted(densities))
    ax.xaxis.set_major_locator(
        FixedLocator(levels) if 0 < len(levels) <= 9 else LogLocator(subs=(1, 2, 5))
    )
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.3g}"))
    if len(levels):
        ax.set_xlim(max(levels) * 1.25, min(levels) / 1.25)
    ax.set_xlabel("density: weights kept (%)")


def _apart(levels: Sequence[float], factor: float = 1.05) -> list[float]:
    """The levels that differ by more than rounding."""
    kept: list[float] = []
    for level in levels:
        if not kept or level > factor * kept[-1]:
            kept.append(level)
    return kept


def log_share_axis(ax: "Axes", shares: Iterable[float]) -> None:
    """Vertical log axis of ``shares`` in per cent, with more ticks where they span less than a
    decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = [share for share in shares if share > 0]
    narrow = positive and max(positive) < 10 * min(positive)
    subs = (1, 1.2, 1.5, 2, 3, 4, 6, 8) if narrow else (1, 2, 5)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.3g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def log_axis(ax: "Axes") -> None:
    """Vertical log axis with ticks at 1, 2 and 5 times the powers of ten, written out."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))


def width_axis(ax: "Axes", widths: Iterable[int], name: str = "width") -> None:
    """Horizontal log axis of base 2 with a tick at every width."""
    from matplotlib.ticker import NullLocator

    ax.set_xscale("log", base=2)
    ax.set_xticks(sorted(set(widths)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(name)


def power_of_two_axes(ax: "Axes") -> None:
    """Both axes logarithmic with base 2, their ticks written out."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
