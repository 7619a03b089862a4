"""What the report shows of pruned and trained networks in tables."""

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.plotting.statistics import mean_interval
from experiments.presentation import NOTHING, Table, heading, number, per_cent, with_interval
from experiments.protocols.prune_and_train import tables
from experiments.protocols.prune_and_train.curvature import FILE
from experiments.runs import Frame, Run, comparing
from experiments.runs.reading import read_json


def results(runs: Sequence[Run]) -> Table:
    """A row per experiment, with a column for each measure that occurs."""
    frame = tables.summary(runs).sort_values(
        ["data", "model", "density", "mean"], ascending=[True, True, False, False]
    )
    measures = list(dict.fromkeys(frame["measure"]))
    heads = ["data", "model", "method", "density (%)", "weights kept (%)",
             *map(heading, measures), "n"]  # fmt: skip
    rows = [
        [row.data, row.model, row.method, per_cent(row.density), per_cent(row.achieved),
         *_under(measures, row.measure, with_interval(row.mean, row.half_width)), str(row.n)]
        for row in frame.itertuples()
    ]  # fmt: skip
    return Table(heads, rows, range(3, len(heads)))


def comparisons(runs: Sequence[Run]) -> Iterator[Table]:
    """A table for every data set, network and density with several methods: all pairs of them."""
    frame = tables.overview(runs).dropna(subset=["result"])
    frame = frame.sort_values("density", ascending=False, kind="stable")
    for key, group in frame.groupby([*tables.PANEL, "density"], sort=False):
        data, model, measure, density = key
        values = {
            method: dict(zip(own["seed"], own["result"], strict=True))
            for method, own in group.groupby("method", sort=False)
        }
        if len(values) > 1:
            title = f"density {per_cent(density)} %: {data}, {model}"
            yield comparing.table(values, measure, title)


def _under(measures: Sequence[str], measure: str, text: str) -> list[str]:
    """``text`` in the column of its measure."""
    return [text if m == measure else NOTHING for m in measures]


def runs(runs: Sequence[Run]) -> Table:
    """A row per run."""
    paths = [run.path.absolute() for run in runs]
    folder = os.path.commonpath([path.parent for path in paths]) if paths else ""
    frame = tables.overview(runs)
    measures = list(dict.fromkeys(frame["measure"]))
    heads = [f"run in {folder}", "status", "method", "density (%)", "kept / total", "seed",
             *map(heading, measures),
             "train loss", "epochs", "pruning (s)", "hardware"]  # fmt: skip
    rows = [
        [str(path.relative_to(folder)), row.status, row.method, per_cent(row.density),
         _fraction(row.kept, row.total), str(row.seed),
         *_under(measures, row.measure, per_cent(row.result)),
         number(row.train_loss), number(row.epochs), number(row.prune_seconds, 3), row.hardware]
        for path, row in zip(paths, frame.itertuples(), strict=True)
    ]  # fmt: skip
    return Table(heads, rows, range(3, len(heads) - 1))


def _fraction(kept: float | None, total: float | None) -> str:
    if kept is None or total is None or math.isnan(kept):
        return NOTHING
    return f"{int(kept):,} / {int(total):,}"


def curvature(runs: Sequence[Run]) -> Iterator[Table]:
    """A row per experiment whose Hessian was measured; no table where none was."""
    measured = [(run, numbers) for run in runs if (numbers := read_json(run.path / FILE))]
    if not measured:
        return
    frame = tables.labels([run for run, _ in measured])
    for name in ("share", "chance"):
        frame[name] = [numbers["overlap"][name] for _, numbers in measured]
    frame["sparsity"] = [numbers["one_shot_sparsity"]["value"] for _, numbers in measured]
    rows = []
    for key, group in frame.groupby(tables.EXPERIMENT, sort=False):
        data, model, method, density = key
        intervals = [with_interval(*mean_interval(group[name])[:2])
                     for name in ("share", "chance", "sparsity")]  # fmt: skip
        rows.append([data, model, method, per_cent(density), *intervals, str(len(group))])
    heads = ["data", "model", "method", "density (%)", "overlap (%)", "chance (%)",
             "predicted one-shot sparsity (%)", "n"]  # fmt: skip
    yield Table(
        heads, rows, range(3, len(heads)), title="Masks and the Hessian before pruning",
        note="Overlap: share of the top eigenspace that the mask keeps (arXiv 2504.14701), against "
        "its mean over random masks; the largest sparsity without loss that arXiv 2306.05857 "
        "predicts for pruning at once. Means over seeds ± Student-t 95 %.",
    )  # fmt: skip


def layers(runs: Sequence[Run]) -> Iterator[Table]:
    """A table for every pruned experiment, with a row per layer."""
    frame = tables.layers(runs)
    if not len(frame):
        return
    pruned = frame[frame["density"] < 1].sort_values("density", ascending=False, kind="stable")
    for key, group in pruned.groupby(tables.EXPERIMENT, sort=False):
        data, model, method, density = key
        collapsed = group.groupby("depth")["collapsed"].any()
        title = f"{method} at {per_cent(density)} %: {data}, {model}"
        yield _layers_of(group, title, int(collapsed.sum()))


def _layers_of(group: Frame, title: str, collapsed: int) -> Table:
    kept = group.pivot_table(index="depth", columns="seed", values="kept", aggfunc="first")
    first = group.drop_duplicates("depth").set_index("depth")
    connected = group.groupby("depth")["connected"].mean()
    is_known = connected.notna().any()
    heads = ["layer", "shape", "total", *(f"kept, seed {seed}" for seed in kept.columns),
             "kept (%)", *(["on a path (%)"] if is_known else [])]  # fmt: skip
    rows = [
        [layer.layer, " \N{MULTIPLICATION SIGN} ".join(map(str, layer.shape)), f"{layer.total:,}",
         *(_kept(value) for value in kept.loc[depth]),
         per_cent(kept.loc[depth].mean() / layer.total),
         *([per_cent(connected[depth] / layer.total)] if is_known else [])]
        for depth, layer in zip(first.index, first.itertuples(), strict=True)
    ]  # fmt: skip
    warning = f"{collapsed} collapsed" if collapsed else ""
    return Table(heads, rows, range(2, len(heads)), title, warning)


def _kept(value: float) -> str:
    if math.isnan(value):
        return NOTHING
    return "0, collapsed" if value == 0 else f"{value:,.0f}"


def configs(runs: Sequence[Run]) -> Table:
    """What differs between the configs."""
    frame = tables.configs(runs)
    return Table(list(frame.columns), [[_text(v) for v in row] for row in frame.to_numpy()])


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
