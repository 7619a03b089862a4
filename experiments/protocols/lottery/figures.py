"""Figures of lotteries and their branches, from the rows of ``results.json``.

Lines are means over the replicates, bars Student-t 95 % intervals (none for one replicate).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.plotting import panels, style
from experiments.plotting.axes import density_axis, sideways, within
from experiments.plotting.saving import save
from experiments.plotting.statistics import mean_interval
from experiments.plotting.style import Look
from experiments.runs import Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
_PANELS = {
    "test/accuracy": ("test accuracy (%)", 100.0),
    "early_stop/accuracy": ("test accuracy at early stop (%)", 100.0),
    "early_stop/step": ("early stop: step of least test loss", 1.0),
    "learnt/step": ("step to twice the dense least test loss", 1.0),
}


def draw(rows: Sequence[Row], folder: Path) -> None:
    """Every figure that these rows have data for, as PNG in ``folder``."""
    for name, figure in all_of(rows).items():
        save(figure, folder / name)


def all_of(rows: Sequence[Row]) -> dict[str, "Figure"]:
    """Every figure that these rows have data for, by name."""
    frame = pd.DataFrame(rows)
    drawn = {}
    if "test/accuracy" in frame:
        drawn["levels"] = levels(frame)
    if "barrier" in frame:
        drawn["connectivity"] = connectivity(frame)
    return drawn


@panels.styled
def levels(frame: Frame) -> "Figure":
    """Accuracies at the end and at early stop, and how fast the networks learn, against density."""
    frame = frame[frame["test/accuracy"].notna()]
    shown = {name: label for name, label in _PANELS.items() if name in frame}
    figure, axes = panels.wrapped(len(shown), 2, width=4.4, height=3.2)
    looks = style.numbered(frame["curve"])
    for ax, (name, (label, scale)) in zip(axes, shown.items(), strict=True):
        for i, (curve, look) in enumerate(looks.items()):
            shift = sideways(i, len(looks), 1.015)
            _line(ax, frame[frame["curve"] == curve], name, scale, look, shift)
        ax.set_ylabel(label)
        within(ax, 0, 100 if scale == 100 else math.inf)
        density_axis(ax, _densities(frame))
    axes[0].set_title(panels.in_words(_counts(frame, "curve", "level")))
    panels.legend(figure, looks)
    return figure


def _counts(frame: Frame, *columns: str) -> Frame:
    """How many replicates there are of every combination of these columns."""
    return frame.groupby([*columns])["replicate"].nunique()


def _densities(frame: Frame) -> list[float]:
    """The density of every level: that of most curves, for wider networks have others."""
    return frame.groupby("level")["density"].median().tolist()


def intervals(frame: Frame, x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of ``x`` and ``y`` and half widths of ``y`` (nan for one value), level by level.

    A level is left out unless all of its replicates have a ``y``.
    """
    points = []
    for _, group in frame.groupby("level"):
        if group[y].notna().all():
            mean, half, _ = mean_interval(group[y])
            points.append((group[x].mean(), mean, np.nan if half is None else half))
    x_mean, y_mean, half_width = np.array(sorted(points)).reshape(-1, 3).T
    return x_mean, y_mean, half_width


def _line(
    ax: "Axes", frame: Frame, name: str, scale: float, look: Look, shift: float = 1.0
) -> None:
    x, mean, half = intervals(frame, "density", name)
    ax.errorbar(x * shift, scale * mean, scale * half, capsize=2, elinewidth=0.8, **look)


@panels.styled
def connectivity(frame: Frame) -> "Figure":
    """The barrier against density, and the mean error on the line of every level."""
    frame = frame[frame["barrier"].notna()]
    figure, axes = panels.grid(1, 2, width=4.2, height=3.4)
    looks = style.numbered(frame["curve"])
    _barriers(axes[0, 0], frame, looks)
    _errors_on_the_line(axes[0, 1], frame, looks)
    panels.legend(figure, looks)
    return figure


def _barriers(ax: "Axes", frame: Frame, looks: dict[str, Look]) -> None:
    for curve, look in looks.items():
        _line(ax, frame[frame["curve"] == curve], "barrier", 100.0, look)
    ax.axhline(0, color=style.DENSE, linewidth=0.7)
    ax.set_ylabel("barrier: rise of the test error (%)")
    ax.set_title(panels.in_words(_counts(frame, "curve", "level")))
    density_axis(ax, _densities(frame))


def _errors_on_the_line(ax: "Axes", frame: Frame, looks: dict[str, Look]) -> None:
    """A shade for every level, a marker for every curve where there are several."""
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0, 0.9, frame["level"].nunique()))
    for (_, group), shade in zip(frame.groupby("level"), shades, strict=True):
        label = f"{100 * group['density'].median():.3g} %"
        for curve, rows in group.groupby("curve", sort=False):
            error = 100 * np.mean(rows["test/error"].tolist(), axis=0)
            marker = looks[str(curve)]["marker"] if len(looks) > 1 else ""
            ax.plot(rows["t"].iloc[0], error, color=shade, label=label, marker=marker, ms=3.5)
            label = None
    ax.set(xlabel="t, from one network to the other", ylabel="test error (%)")
    panels.legend_beside(ax, title="density")


@panels.styled
def stability(frame: Frame) -> "Figure":
    """The barrier against the rewind step: a line for every level of every kind of connection,
    which ``setting`` names."""
    figure, axes = panels.grid(1, 1, width=6.4, height=3.6)
    ax = axes[0, 0]
    several = frame["setting"].nunique() > 1
    lines = {
        f"{setting}, {_level(level, group)}" if several else _level(level, group): group
        for (setting, level), group in frame.groupby(["setting", "level"])
    }
    for label, look in style.numbered(lines).items():
        _stability_line(ax, lines[label], label, look)
    ax.axhline(0, color=style.DENSE, linewidth=0.7)
    ax.set(xlabel="rewind step", ylabel="barrier: rise of the test error (%)")
    _rewind_axis(ax, frame["rewind"])
    ax.set_title(panels.in_words(_counts(frame, "setting", "level", "rewind")))
    panels.legend_beside(ax)
    return figure


def _level(level: int, group: Frame) -> str:
    return f"level {level}, density {100 * group['density'].mean():.3g} %"


def _stability_line(ax: "Axes", frame: Frame, label: str, look: Look) -> None:
    points = [(step, *mean_interval(at["barrier"])[:2]) for step, at in frame.groupby("rewind")]
    x, mean, half = (np.array(column, float) for column in zip(*points, strict=True))
    ax.errorbar(x, 100 * mean, 100 * half, capsize=2, label=label, **look)


def _rewind_axis(ax: "Axes", steps: Frame) -> None:
    """Linear from 0 to the first step, then logarithmic, with a tick at every step."""
    from matplotlib.ticker import NullLocator

    first = steps[steps > 0].min()
    ax.set_xscale("symlog", linthresh=first)
    ax.set_xlim(left=-0.2 * first if steps.min() == 0 else None)
    ticks = sorted(steps.astype(int).unique())
    ax.set_xticks(ticks, map(str, ticks))
    ax.xaxis.set_minor_locator(NullLocator())
