"""Figures of pruned and trained networks, from their runs.

Every mean is over seeds, every accuracy and mIoU in per cent. Runs without the data of a figure are
left out; ValueError when that leaves none.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.plotting import panels, spectra, style
from experiments.plotting.axes import log_share_axis
from experiments.plotting.saving import save
from experiments.plotting.style import Look
from experiments.presentation import heading, is_share
from experiments.protocols.prune_and_train import tables
from experiments.protocols.prune_and_train.methods import levels, looks, present, replicates
from experiments.runs import Frame, Run, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(path: Path) -> None:
    """Learning curves, layer densities and, where there is one, the spectrum of the run in ``path``
    as PNG in it."""
    runs = [read(path)]
    save(learning_curves(runs), path / "learning_curves")
    save(layer_density(runs), path / "layer_density")
    if runs[0].has_spectrum:
        save(spectrum(runs), path / "spectrum")


@panels.styled
def learning_curves(runs: Sequence[Run]) -> "Figure":
    """Losses and shares against epochs, a row per density; thin lines are seeds, thick means."""
    frame = panels.require(tables.curves(runs), "losses or accuracies")
    names = [name for name in tables.CURVES if name in set(frame["name"])]
    rows = levels(frame, with_dense=True)
    figure, axes = panels.grid(len(rows), len(names), width=2.75, height=2.25, sharex=True)
    method_looks = looks(frame)
    for row, (title, group) in zip(axes, rows, strict=True):
        for ax, name in zip(row, names, strict=True):
            _curves(ax, group[group["name"] == name], method_looks)
            ax.set_ylabel(heading(name))
        row[0].set_title(style.plain(f"{title}, {replicates(group)}"))
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    for kind in ("loss", "accuracy", "miou"):
        columns = [i for i, name in enumerate(names) if name.endswith(kind)]
        _focus(axes[:, columns].flat, frame[frame["name"].isin(names)], kind)
    panels.legend(figure, panels.without_markers(method_looks))
    return figure


def _curves(ax: "Axes", group: Frame, looks: dict[str, Look]) -> None:
    scale = 100 if group["name"].map(is_share).any() else 1
    for label, look in present(looks, group):
        line = group[group["method"] == label]
        look = {**look, "marker": None}
        wide = line.pivot_table(index="epoch", columns="seed", values="value") * scale
        if wide.shape[1] > 1:
            ax.plot(wide.index, wide, **{**look, "linewidth": 0.6, "alpha": 0.4})
        ax.plot(wide.index, wide.mean(axis=1), **look)


def _focus(axes: Iterable["Axes"], frame: Frame, kind: str) -> None:
    """One scale for train and test and all densities; the steep start may leave the panel."""
    values = frame.loc[frame["name"].str.endswith(kind), "value"]
    values = values[np.isfinite(values)]
    if values.nunique() < 2:
        return
    steep = 0.1 if frame["epoch"].nunique() >= 20 else 0
    clipped = values.quantile([0, 1 - steep] if kind == "loss" else [steep, 1])
    low, high = (1 if kind == "loss" else 100) * clipped.to_numpy()
    margin = 0.08 * (high - low)
    for ax in axes:
        ax.set_ylim(low - margin, high + margin)


@panels.styled
def layer_density(runs: Sequence[Run]) -> "Figure":
    """Kept share of every layer against depth; a cross on the floor is a collapsed layer."""
    frame = panels.require(tables.layers(runs), "a table of layers")
    if (frame["density"] < 1).any():
        frame = frame[frame["density"] < 1]
    rows = levels(frame)
    names = frame.drop_duplicates("depth")
    label_inches = 0.06 * max(map(len, names["layer"]))
    figure, axes = panels.grid(len(rows), 1, width=8.6, height=2.2, extra=label_inches, sharex=True)
    method_looks = looks(frame)
    for (ax,), (title, group) in zip(axes, rows, strict=True):
        _layers(ax, group, method_looks)
        ax.set_title(style.plain(f"{title}, {replicates(group)}"))
    _name_layers(axes[-1, 0], names)
    panels.legend(figure, method_looks)
    return figure


def _layers(ax: "Axes", group: Frame, looks: dict[str, Look]) -> None:
    floor = group.loc[group["kept"] > 0, "layer_density"].min() / 2
    for label, look in present(looks, group):
        _layer_line(ax, group[group["method"] == label], look, floor)
    ax.axhline(group["density"].iloc[0], color="#888888", linewidth=0.8, zorder=1)
    log_share_axis(ax, group["layer_density"])
    ax.set_ylabel("weights kept (%)")


def _name_layers(ax: "Axes", names: Frame) -> None:
    """Ticks of at most 60 layers."""
    shown = names.iloc[:: 1 + len(names) // 60]
    ticks = [style.plain(name.removesuffix("/kernel")) for name in shown["layer"]]
    ax.set_xticks(shown["depth"], ticks, rotation=90, fontsize=7)
    ax.set_xlabel("layer, from input to output")


def _layer_line(ax: "Axes", line: Frame, look: Look, floor: float) -> None:
    wide = line.pivot_table(index="depth", columns="seed", values="layer_density")
    mean = wide.mean(axis=1)
    if wide.shape[1] > 1:
        ax.plot(wide.index, wide.where(wide > 0), color=look["color"], linewidth=0.5, alpha=0.35)
    ax.plot(mean.index, mean.where(mean > 0), **{**look, "linewidth": 1.2})
    collapsed = sorted(set(line.loc[line["kept"] == 0, "depth"]))
    if collapsed:
        crosses = {"color": look["color"], "linestyle": "none", "marker": "x", "markersize": 6}
        ax.plot(collapsed, [floor] * len(collapsed), **crosses, markeredgewidth=1.5, clip_on=False)


@panels.styled
def spectrum(runs: Sequence[Run]) -> "Figure":
    """Eigenvalues of the NTK at initialisation by rank, before and after pruning, log-log.

    The legend gives the mean over seeds of the trace and of the condition number, the largest by
    the smallest positive eigenvalue.
    """
    with_spectrum = [run for run in runs if run.has_spectrum]
    frame = tables.labels(with_spectrum).assign(run=with_spectrum)
    panels.require(frame, "a spectrum")
    groups = levels(frame)
    columns = min(2, len(groups))
    figure, axes = panels.wrapped(len(groups), columns, width=4.4, height=3.6, sharey=True)
    method_looks = looks(frame[frame["base"] != "dense"])
    for ax, (title, group) in zip(axes, groups, strict=True):
        _spectra(ax, group, method_looks)
        ax.set_title(style.plain(f"{title}, {replicates(group)}"))
    for ax in axes[::columns]:
        ax.set_ylabel("eigenvalue of the NTK")
    return figure


def _spectra(ax: "Axes", group: Frame, looks: dict[str, Look]) -> None:
    dense = [run.spectrum["eigenvalues_dense"] for run in group["run"]]
    spectra.line(ax, dense, "dense", {"color": style.DENSE, "linestyle": "-"})
    for label, look in present(looks, group):
        of_method = group["run"][group["method"] == label]
        pruned = [run.spectrum["eigenvalues_pruned"] for run in of_method]
        spectra.line(ax, pruned, label, {**look, "marker": None})
    spectra.by_rank(ax)
