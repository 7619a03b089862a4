"""What the page shows in tables: heads and texts."""

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from experiments.report import tables
from experiments.report.references import Reference
from experiments.report.runs import Frame, Run
from experiments.report.statistics import mean_interval

_NOTHING = "\N{EN DASH}"


@dataclasses.dataclass(frozen=True)
class Table:
    """Column heads and rows of texts. ``numbers`` are the indices of right-aligned columns."""

    heads: list[str]
    rows: list[list[str]]
    numbers: tuple[int, ...] = ()


def results(runs: Sequence[Run]) -> Table:
    """A row per experiment, with a column for each measure that occurs."""
    frame = tables.summary(runs).sort_values(
        ["data", "model", "density", "mean"], ascending=[True, True, False, False]
    )
    measures = list(dict.fromkeys(frame["measure"]))
    heads = ["data", "model", "method", "density (%)", "weights kept (%)",
             *map(tables.heading, measures), "n"]  # fmt: skip
    rows = [
        [row.data, row.model, row.method, per_cent(row.density), per_cent(row.achieved),
         *_under(measures, row.measure, with_interval(row.mean, row.half_width)), str(row.n)]
        for row in frame.itertuples()
    ]  # fmt: skip
    return Table(heads, rows, tuple(range(3, len(heads))))


def _under(measures: Sequence[str], measure: str, text: str) -> list[str]:
    """``text`` in the column of its measure."""
    return [text if m == measure else _NOTHING for m in measures]


def per_cent(share: float | None) -> str:
    """``10.74`` for 0.107374, ``0.05`` for 0.0005; a dash where there is no number."""
    if share is None or math.isnan(share):
        return _NOTHING
    return f"{100 * share:.2f}" if share >= 0.001 or share == 0 else f"{100 * share:.2g}"


def with_interval(mean: float, half_width: float | None) -> str:
    """``91.23 ± 0.45`` in per cent; one seed has no interval."""
    interval = "" if half_width is None or math.isnan(half_width) else f" ± {100 * half_width:.2f}"
    return f"{100 * mean:.2f}{interval}"


_OF_LEVELS = {
    "test/accuracy": ("test accuracy (%)", 100.0),
    "early_stop/accuracy": ("at early stop (%)", 100.0),
    "early_stop/step": ("early stop (step)", 1.0),
    "learnt/step": ("learnt (step)", 1.0),
    "barrier": ("barrier (%)", 100.0),
}


def levels(frame: Frame) -> Table:
    """A row per curve and level of lotteries and their branches: means and intervals over the
    replicates, where all of them have a value."""
    shown = {name: how for name, how in _OF_LEVELS.items() if name in frame}
    heads = ["curve", "level", "density (%)", *(head for head, _ in shown.values()), "n"]
    rows = [
        [str(curve), str(level), per_cent(group["density"].mean()),
         *(_mean(scale * group[name]) for name, (_, scale) in shown.items()),
         str(group["replicate"].nunique())]
        for (curve, level), group in frame.groupby(["curve", "level"], sort=False)
    ]  # fmt: skip
    return Table(heads, rows, tuple(range(1, len(heads))))


def _mean(values: pd.Series) -> str:
    """``307.00 ± 33.12``; a dash where one is missing."""
    if values.isna().any():
        return _NOTHING
    mean, half_width, _ = mean_interval(values)
    return f"{mean:.2f}" if half_width is None else f"{mean:.2f} ± {half_width:.2f}"


def _number(value: float | None, digits: int = 4) -> str:
    return _NOTHING if value is None or math.isnan(value) else f"{value:.{digits}g}"


def runs(runs: Sequence[Run]) -> Table:
    """A row per run."""
    paths = [run.path.absolute() for run in runs]
    common = os.path.commonpath([path.parent for path in paths]) if paths else ""
    frame = tables.overview(runs)
    measures = list(dict.fromkeys(frame["measure"]))
    heads = [f"run in {common}", "status", "method", "density (%)", "kept / total", "seed",
             *map(tables.heading, measures),
             "train loss", "epochs", "pruning (s)", "hardware"]  # fmt: skip
    rows = [
        [str(path.relative_to(common)), row.status, row.method, per_cent(row.density),
         _fraction(row.kept, row.total), str(row.seed),
         *_under(measures, row.measure, per_cent(row.result)),
         _number(row.train_loss), _number(row.epochs), _number(row.prune_seconds, 3), row.hardware]
        for path, row in zip(paths, frame.itertuples(), strict=True)
    ]  # fmt: skip
    return Table(heads, rows, tuple(range(3, len(heads) - 1)))


def published(reference: Reference) -> Table:
    """The published numbers: a row per method, a column per printed sparsity."""
    heads = ["sparsity (%)", *(f"{s:.2f}" for s in reference.sparsity)]
    rows = [_published_row(reference, method) for method in reference.methods]
    if reference.dense is not None:
        rows.append(["dense (0 %)", f"{reference.dense:g}", *[""] * (len(heads) - 2)])
    return Table(heads, rows, tuple(range(1, len(heads))))


def _published_row(reference: Reference, method: str) -> list[str]:
    """The method, with its reading error where it has its own; ``~`` before rough readings."""
    digits = "g" if reference.digitised else ".2f"
    texts = [_NOTHING if v is None else f"{v:{digits}}" for v in reference.methods[method]]
    bars = [f" ± {bar:.2f}" for bar in reference.plus_minus.get(method, ())] or [""] * len(texts)
    signs = ["~" * rough for rough in reference.is_approximate(method)]
    error = f" (±{reference.coarser[method]:g})" if method in reference.coarser else ""
    return [method + error, *map("".join, zip(signs, texts, bars, strict=True))]


def _fraction(kept: float | None, total: float | None) -> str:
    if kept is None or total is None or math.isnan(kept):
        return _NOTHING
    return f"{int(kept):,} / {int(total):,}"


def layer_tables(runs: Sequence[Run]) -> Iterator[tuple[str, int, Table]]:
    """``(title, number of collapsed layers, table)`` of every pruned experiment."""
    frame = tables.layers(runs)
    if not len(frame):
        return
    pruned = frame[frame["density"] < 1].sort_values("density", ascending=False, kind="stable")
    for key, group in pruned.groupby(tables.EXPERIMENT, sort=False):
        data, model, method, density = key
        collapsed = group.groupby("depth")["collapsed"].any()
        title = f"{method} at {per_cent(density)} %: {data}, {model}"
        yield title, int(collapsed.sum()), _layer_table(group)


def _layer_table(group: Frame) -> Table:
    kept = group.pivot_table(index="depth", columns="seed", values="kept", aggfunc="first")
    first = group.drop_duplicates("depth").set_index("depth")
    heads = [
        "layer",
        "shape",
        "total",
        *(f"kept, seed {seed}" for seed in kept.columns),
        "kept (%)",
    ]
    rows = [
        [layer.layer, " \N{MULTIPLICATION SIGN} ".join(map(str, layer.shape)), f"{layer.total:,}",
         *(_kept(value) for value in kept.loc[depth]),
         per_cent(kept.loc[depth].mean() / layer.total)]
        for depth, layer in zip(first.index, first.itertuples(), strict=True)
    ]  # fmt: skip
    return Table(heads, rows, tuple(range(2, len(heads))))


def _kept(value: float) -> str:
    if math.isnan(value):
        return _NOTHING
    return "0, collapsed" if value == 0 else f"{value:,.0f}"


def configs(runs: Sequence[Run]) -> Table:
    """What differs between the configs."""
    frame = tables.configs(runs)
    return Table(list(frame.columns), [[_text(v) for v in row] for row in frame.to_numpy()])


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def environments(runs: Sequence[Run]) -> Table:
    """What the runs were made with: every different value and how many runs have it."""
    rows = []
    for name, read in {
        "hardware": tables.hardware,
        "commit": lambda run: run.env.get("commit"),
        "python": lambda run: run.env.get("python"),
        "jax": lambda run: run.env.get("versions", {}).get("jax"),
        "flax": lambda run: run.env.get("versions", {}).get("flax"),
        "ntk_prune": lambda run: run.env.get("versions", {}).get("ntk_prune"),
    }.items():
        counts = pd.Series([str(read(run) or "unknown") for run in runs]).value_counts()
        rows += [[name, str(value), str(count)] for value, count in counts.items()]
    return Table(["", "value", "runs"], rows, (2,))
