"""Figures of lotteries and their branches, from the rows of ``results.json``.

Lines are means over the replicates, bars Student-t 95 % intervals (none for one replicate).
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from experiments.report import panels, style
from experiments.report.accuracy import density_axis
from experiments.report.panels import Look
from experiments.report.runs import Frame
from experiments.report.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]
_LEARNING = ("train/loss", "test/loss", "train/accuracy", "test/accuracy")
_PANELS = {
    "test/accuracy": ("test accuracy (%)", 100.0),
    "early_stop/accuracy": ("test accuracy at early stop (%)", 100.0),
    "early_stop/step": ("early stop: step of least test loss", 1.0),
    "learnt/step": ("step to twice the dense least test loss", 1.0),
}


def all_of(rows: Sequence[Row]) -> dict[str, "Figure"]:
    """Every figure that these rows have data for, by name."""
    frame = pd.DataFrame(rows)
    made = {}
    if "test/accuracy" in frame:
        made["levels"] = levels(frame)
    if "barrier" in frame:
        made["connectivity"] = connectivity(frame)
    return made


@panels.styled
def levels(frame: Frame) -> "Figure":
    """Accuracies at the end and at early stop, and how fast the networks learn, against density."""
    frame = frame[frame["test/accuracy"].notna()]
    shown = {name: look for name, look in _PANELS.items() if name in frame}
    figure, axes = panels.grid(-(-len(shown) // 2), 2, width=4.4, height=3.2)
    looks = curve_looks(frame)
    for ax in axes.flat[len(shown) :]:
        ax.remove()
    for ax, (name, (label, scale)) in zip(axes.flat, shown.items(), strict=False):
        for i, (curve, look) in enumerate(looks.items()):
            shift = 1.015 ** (i - (len(looks) - 1) / 2)  # so that intervals do not hide each other
            _line(ax, frame[frame["curve"] == curve], name, scale, look, shift)
        ax.set_ylabel(label)
        panels.within(ax, 0, 100 if scale == 100 else math.inf)
        density_axis(ax, _densities(frame))
    counts = frame.groupby(["curve", "level"])["replicate"].nunique()
    axes[0, 0].set_title(panels.in_words(counts))
    panels.legend(figure, looks)
    return figure


def _densities(frame: Frame) -> list[float]:
    """The density of every level: that of most curves, for wider networks have others."""
    return frame.groupby("level")["density"].median().tolist()


def curve_looks(frame: Frame) -> dict[str, Look]:
    """The look of every curve, in order of appearance."""
    names = list(dict.fromkeys(frame["curve"]))
    return {
        name: {
            "color": style.COLORS[i % len(style.COLORS)],
            "marker": style.MARKERS[i % len(style.MARKERS)],
            "linestyle": "-",
            "markersize": 3.5,
            "linewidth": 1.2,
        }
        for i, name in enumerate(names)
    }


def intervals(frame: Frame, x: str, y: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of ``x`` and ``y`` and half widths of ``y`` (nan for one value), level by level.

    A level is left out unless all of its replicates have a ``y``.
    """
    points = []
    for _, group in frame.groupby("level"):
        if group[y].notna().all():
            mean, half, _ = mean_interval(group[y])
            points.append((group[x].mean(), mean, np.nan if half is None else half))
    found = np.array(sorted(points)).reshape(-1, 3)
    return found[:, 0], found[:, 1], found[:, 2]


def _line(
    ax: "Axes", frame: Frame, name: str, scale: float, look: Look, shift: float = 1.0
) -> None:
    x, mean, half = intervals(frame, "density", name)
    ax.errorbar(x * shift, scale * mean, scale * half, capsize=2, elinewidth=0.8, **look)


@panels.styled
def connectivity(frame: Frame) -> "Figure":
    """The barrier against density, and the mean error on the line of every level."""
    from matplotlib import colormaps

    frame = frame[frame["barrier"].notna()]
    figure, axes = panels.grid(1, 2, width=4.2, height=3.4)
    left, right = axes[0]
    looks = curve_looks(frame)
    for curve, look in looks.items():
        _line(left, frame[frame["curve"] == curve], "barrier", 100.0, look)
    panels.legend(figure, looks)
    left.axhline(0, color=style.DENSE, linewidth=0.7)
    left.set_ylabel("barrier: rise of the test error (%)")
    left.set_title(panels.in_words(frame.groupby(["curve", "level"])["replicate"].nunique()))
    density_axis(left, _densities(frame))
    shades = colormaps["viridis"](np.linspace(0, 0.9, frame["level"].nunique()))
    for (_, group), shade in zip(frame.groupby("level"), shades, strict=True):
        label = f"{100 * group['density'].median():.3g} %"
        for curve, rows in group.groupby("curve", sort=False):
            error = np.mean(rows["test/error"].tolist(), axis=0)
            marker = looks[str(curve)]["marker"] if len(looks) > 1 else ""
            right.plot(
                rows["t"].iloc[0], 100 * error, color=shade, label=label, marker=marker, ms=3.5
            )
            label = None
    right.set(xlabel="t, from one network to the other", ylabel="test error (%)")
    _legend_beside(right, title="density")
    return figure


def _legend_beside(ax: "Axes", **kwargs: Any) -> None:
    """Many levels have many entries, which would hide the lines."""
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), **kwargs)


@panels.styled
def stability(frame: Frame) -> "Figure":
    """The barrier against the rewind step: a line for every level of every kind of connection,
    which ``setting`` names."""
    from matplotlib.ticker import NullLocator

    figure, axes = panels.grid(1, 1, width=6.4, height=3.6)
    ax = axes[0, 0]
    lines = list(frame.groupby(["setting", "level"]))
    looks = curve_looks(pd.DataFrame({"curve": range(len(lines))})).values()
    several = frame["setting"].nunique() > 1
    for ((setting, level), group), look in zip(lines, looks, strict=True):
        points = [(step, *mean_interval(at["barrier"])[:2]) for step, at in group.groupby("rewind")]
        x, mean, half = (np.array(column, float) for column in zip(*points, strict=True))
        label = f"level {level}, density {100 * group['density'].mean():.3g} %"
        label = f"{setting}, {label}" if several else label
        ax.errorbar(x, 100 * mean, 100 * half, capsize=2, label=label, **look)
    ax.axhline(0, color=style.DENSE, linewidth=0.7)
    ax.set(xlabel="rewind step", ylabel="barrier: rise of the test error (%)")
    first = frame["rewind"][frame["rewind"] > 0].min()
    ax.set_xscale("symlog", linthresh=first)  # from 0 to the first step, then logarithmic
    ax.set_xlim(left=-0.2 * first if frame["rewind"].min() == 0 else None)
    steps = sorted(frame["rewind"].astype(int).unique())
    ax.set_xticks(steps, map(str, steps))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_title(
        panels.in_words(frame.groupby(["setting", "level", "rewind"])["replicate"].nunique())
    )
    _legend_beside(ax)
    return figure


@panels.styled
def learning_curves(frame: Frame) -> "Figure":
    """Losses and accuracies of replicates (step, name, value, replicate); thick: their mean."""
    names = [name for name in _LEARNING if name in set(frame["name"])]
    figure, axes = panels.grid(1, len(names), width=2.9, height=2.6)
    for ax, name in zip(axes.flat, names, strict=True):
        scale = 100 if name.endswith("accuracy") else 1
        wide = frame[frame["name"] == name].pivot_table(
            index="step", columns="replicate", values="value"
        )
        if wide.shape[1] > 1:
            ax.plot(wide.index, scale * wide, color=style.COLORS[0], linewidth=0.6, alpha=0.4)
        ax.plot(wide.index, scale * wide.mean(axis=1), color=style.COLORS[0])
        ax.set(xlabel="step", ylabel=name.replace("/", " ") + " (%)" * (scale == 100))
    axes[0, 0].set_title(f"n = {frame['replicate'].nunique()}")
    return figure
