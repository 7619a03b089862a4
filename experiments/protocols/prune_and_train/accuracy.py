"""The comparison of the papers: what pruned networks reach against their density."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from experiments import references
from experiments.plotting import panels, style
from experiments.plotting.axes import density_axis, sideways, within
from experiments.plotting.style import Look
from experiments.presentation import heading
from experiments.protocols.prune_and_train import tables
from experiments.protocols.prune_and_train.methods import looks
from experiments.references import Reference
from experiments.runs import Frame, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@panels.styled
def accuracy_vs_density(runs: Sequence[Run], published: Sequence[Reference] = ()) -> "Figure":
    """Final test accuracy or mIoU against density: mean, interval, every seed; dense dashed.

    Published curves lie under them, pale, each source with a dash pattern of its own. UserError
    when one of them fits no panel.
    """
    table = panels.require(tables.summary(runs), "a result on the test set")
    seeds = tables.overview(runs)
    groups = list(table.groupby(tables.PANEL, sort=False))
    placed = references.place(published, [key for key, _ in groups])
    width = 6.2 if len(groups) == 1 else 4.4
    figure, axes = panels.grid(1, len(groups), width=width, height=4.3, extra=0.2 * len(published))
    measured, pale = looks(table), _reference_looks(published)
    for ax, (key, group), under in zip(axes.flat, groups, placed, strict=True):
        for reference in under:
            _published_lines(ax, reference, published.index(reference), pale)
        is_shown = (seeds[tables.PANEL] == list(key)).all(axis=1)
        _measured_lines(ax, group, seeds[is_shown], measured)
        title = f"{key[0]}, {key[1]}, {panels.in_words(group['n'])}"
        ax.set_title(style.plain(textwrap.fill(title, int(13 * width))))
        _scales(ax, key[2], group, under)
    _legends(figure, measured, pale, published)
    return figure


def _scales(ax: "Axes", measure: str, group: Frame, under: Sequence[Reference]) -> None:
    ax.set_ylabel(heading(measure))
    within(ax, 0, 100)
    pruned = group.loc[group["density"] < 1, "achieved"]
    density_axis(ax, [*pruned.dropna(), *(d for r in under for d in r.density)])


def _measured_lines(ax: "Axes", group: Frame, seeds: Frame, looks: dict[str, Look]) -> None:
    pruned = [label for label in looks if label in set(group["method"][group["density"] < 1])]
    for i, label in enumerate(pruned):
        _line(ax, group, seeds, label, looks[label], sideways(i, len(pruned), 1.025))
    for _, dense in group[group["density"] == 1].iterrows():
        _dense_line(ax, dense, looks[dense["method"]])


def _line(ax: "Axes", group: Frame, seeds: Frame, label: str, look: Look, shift: float) -> None:
    line = group[group["method"] == label].sort_values("density")
    half_width = line["half_width"].astype(float).to_numpy() * 100
    x = line["achieved"] * shift
    line_look = {**look, "marker": None, "linewidth": 1.2}
    ax.errorbar(x, line["mean"] * 100, half_width, capsize=2.5, elinewidth=0.9, **line_look)
    dots = seeds[seeds["method"] == label]
    x = (dots["kept"] / dots["total"]).astype(float) * shift
    ax.plot(x, dots["result"] * 100, **{**look, "linestyle": "none", "markersize": 3.8})


def _dense_line(ax: "Axes", dense: Frame, look: Look) -> None:
    ax.axhline(dense["mean"] * 100, **look)
    if pd.notna(dense["half_width"]):
        low, high = (dense["mean"] + side * dense["half_width"] for side in (-1, 1))
        ax.axhspan(low * 100, high * 100, color=style.DENSE, alpha=0.08, linewidth=0)


def _reference_looks(published: Sequence[Reference]) -> dict[str, Look]:
    """The look that a run of each published method would have."""
    labels = dict.fromkeys(label for reference in published for label in reference.methods)
    dense = [("dense", "none", "dense")] * any(r.dense is not None for r in published)
    return style.line_styles([*((label.split(" ")[0], "none", label) for label in labels), *dense])


def _published_lines(ax: "Axes", reference: Reference, number: int, looks: dict[str, Look]) -> None:
    for method, values in reference.methods.items():
        look = style.published(looks[method], number)
        x, y = np.array(reference.density), np.array(values, float)
        known = np.isfinite(y)
        ax.plot(x[known], y[known], **look)
        rough = np.array(reference.is_approximate(method))
        dots = {**look, "linestyle": "none", "marker": "o", "markersize": 2.4}
        ax.plot(x[known & ~rough], y[known & ~rough], **dots)
        ax.plot(x[known & rough], y[known & rough], **dots, markerfacecolor="white")
        if method in reference.plus_minus:
            bars = {**look, "linestyle": "none", "elinewidth": 0.7}
            ax.errorbar(x, y, reference.plus_minus[method], **bars)
    if reference.dense is not None:
        ax.axhline(reference.dense, **style.published(looks["dense"], number))


def _legends(
    figure: "Figure",
    looks: dict[str, Look],
    published_looks: dict[str, Look],
    published: Sequence[Reference],
) -> None:
    """The methods above, those that are only published as thin lines; the sources below."""
    from matplotlib.lines import Line2D

    pale = {label: style.published(look, 0) for label, look in published_looks.items()}
    panels.legend(figure, looks | {label: pale[label] for label in pale if label not in looks})
    if published:
        grey = {"color": style.DENSE}
        lines = [Line2D([], [], **style.published(grey, i)) for i in range(len(published))]
        labels = [style.plain(reference.label) for reference in published]
        figure.legend(lines, labels, loc="outside lower center", fontsize=7.5, handlelength=3)
