"""Runs -> matplotlib figures. Nothing here touches pyplot or any global state.

Every mean is over seeds, every interval a Student-t 95 % interval, every accuracy and mIoU
in per cent. Runs without the data of a figure are left out; ValueError when that leaves none.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.report import panels, style, tables
from experiments.report.panels import Look
from experiments.report.runs import Frame, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def save(figure: "Figure", path: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write ``path.png``, ``path.pdf``, ... (``path`` has no suffix) and return these files.

    Undated: the same figure gives the same bytes. OSError where the folder cannot be written.
    """
    import matplotlib

    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    files = [path.with_name(f"{path.name}.{kind}") for kind in formats]
    with matplotlib.rc_context({**style.RC, "svg.hashsalt": "ntk_prune"}):
        for file, kind in zip(files, formats, strict=True):
            figure.savefig(file, format=kind, metadata=undated.get(kind))
    return files


@panels.styled
def learning_curves(runs: Sequence[Run]) -> "Figure":
    """Losses and shares against epochs, a row per density; thin lines are seeds, thick means."""
    frame = panels.require(tables.curves(runs), "losses or accuracies")
    names = [name for name in tables.CURVES if name in set(frame["name"])]
    rows = panels.levels(frame, with_dense=True)
    figure, axes = panels.grid(len(rows), len(names), width=2.75, height=2.25, sharex=True)
    looks = panels.looks(frame)
    for row, (title, group) in zip(axes, rows, strict=True):
        for ax, name in zip(row, names, strict=True):
            _curves(ax, group[group["name"] == name], looks)
            ax.set_ylabel(tables.heading(name))
        row[0].set_title(style.plain(f"{title}, {panels.replicates(group)}"))
    for ax in axes[-1]:
        ax.set_xlabel("epoch")
    for kind in ("loss", "accuracy", "miou"):
        columns = [i for i, name in enumerate(names) if name.endswith(kind)]
        _focus(axes[:, columns].flat, frame[frame["name"].isin(names)], kind)
    panels.legend(figure, panels.without_markers(looks))
    return figure


def _curves(ax: "Axes", group: Frame, looks: dict[str, Look]) -> None:
    scale = 100 if group["name"].map(tables.is_share).any() else 1
    for label, look in panels.present(looks, group):
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
    rows = panels.levels(frame)
    names = frame.drop_duplicates("depth")
    label_inches = 0.06 * max(map(len, names["layer"]))
    figure, axes = panels.grid(len(rows), 1, width=8.6, height=2.2, extra=label_inches, sharex=True)
    looks = panels.looks(frame)
    for (ax,), (title, group) in zip(axes, rows, strict=True):
        floor = group.loc[group["kept"] > 0, "layer_density"].min() / 2
        for label, look in panels.present(looks, group):
            _layer_line(ax, group[group["method"] == label], look, floor)
        ax.axhline(group["density"].iloc[0], color="#888888", linewidth=0.8, zorder=1)
        _per_cent_scale(ax, group["layer_density"])
        ax.set_ylabel("weights kept (%)")
        ax.set_title(style.plain(f"{title}, {panels.replicates(group)}"))
    shown = names.iloc[:: 1 + len(names) // 60]
    ticks = [style.plain(name.removesuffix("/kernel")) for name in shown["layer"]]
    axes[-1, 0].set_xticks(shown["depth"], ticks, rotation=90, fontsize=7)
    axes[-1, 0].set_xlabel("layer, from input to output")
    panels.legend(figure, looks)
    return figure


def _per_cent_scale(ax: "Axes", shares: Frame) -> None:
    """Log scale of shares in per cent, with more ticks where less than a decade is shown."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    shares = shares[shares > 0]
    narrow = len(shares) and shares.max() < 10 * shares.min()
    subs = (1, 1.2, 1.5, 2, 3, 4, 6, 8) if narrow else (1, 2, 5)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.3g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


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
    with_spectrum = [run for run in runs if run.spectrum is not None]
    frame = tables.labels(with_spectrum).assign(run=with_spectrum)
    panels.require(frame, "a spectrum")
    groups = panels.levels(frame)
    columns = min(2, len(groups))
    figure, axes = panels.grid(
        -(-len(groups) // columns), columns, width=4.4, height=3.6, sharey=True
    )
    looks = panels.looks(frame[frame["base"] != "dense"])
    for ax, (title, group) in zip(axes.flat, groups, strict=False):
        dense = [run.spectrum["eigenvalues_dense"] for run in group["run"]]
        _eigenvalues(ax, dense, "dense", {"color": style.DENSE, "linestyle": "-"})
        for label, look in panels.present(looks, group):
            pruned = [
                r.spectrum["eigenvalues_pruned"] for r in group["run"][group["method"] == label]
            ]
            _eigenvalues(ax, pruned, label, {**look, "marker": None})
        _by_rank(ax)
        ax.set_title(style.plain(f"{title}, {panels.replicates(group)}"))
    for ax in axes.flat[len(groups) :]:
        ax.remove()
    for ax in axes[:, 0]:
        ax.set_ylabel("eigenvalue of the NTK")
    return figure


@panels.styled
def eigenvalues(spectra: Mapping[str, np.ndarray]) -> "Figure":
    """Eigenvalues of the NTK by rank, log-log, one line per method; ``dense`` is drawn in grey.

    The legend gives the trace and the condition number, the largest by the smallest positive
    eigenvalue.
    """
    figure, axes = panels.grid(1, 1, width=5.6, height=4.0)
    ax = axes[0, 0]
    looks = style.line_styles((name, "none", name) for name in spectra)
    for name, values in spectra.items():
        _eigenvalues(ax, [values], name, {**looks[name], "marker": None})
    _by_rank(ax)
    ax.set_ylabel("eigenvalue of the NTK")
    return figure


def _by_rank(ax: "Axes") -> None:
    """Both axes logarithmic, and a legend of what ``_eigenvalues`` has drawn."""
    ax.set(xscale="log", yscale="log", xlabel="rank")
    ax.legend(fontsize=7.5, loc="lower left", title="trace, condition number",
              title_fontsize=7.5, alignment="left")  # fmt: skip


def _eigenvalues(ax: "Axes", spectra: list[np.ndarray], label: str, look: Look) -> None:
    size = min(len(values) for values in spectra)
    sorted_values = np.stack([np.sort(values)[::-1][:size] for values in spectra])
    positive = np.where(sorted_values > 0, sorted_values, np.nan)
    rank = np.arange(1, size + 1)
    if len(spectra) > 1:
        ax.plot(rank, positive.T, **{**look, "linewidth": 0.6, "alpha": 0.35})
    trace = sorted_values.sum(axis=1).mean()
    condition = np.mean(np.nanmax(positive, axis=1) / np.nanmin(positive, axis=1))
    text = f"{label}: {_number(trace)}, {_number(condition)}"
    ax.plot(rank, np.exp(np.log(positive).mean(axis=0)), label=style.plain(text), **look)


def _number(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.2g}"
