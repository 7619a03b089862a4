"""Runs -> one self-contained HTML page, with the PNG and PDF of every figure beside it."""

import base64
import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from experiments.report import figures, panels, tables
from experiments.report.runs import Frame, Run

_CAPTIONS = {
    "accuracy_vs_density": "Test accuracy after the last epoch against density. Lines: means over "
    "seeds; bars: Student-t 95 % intervals (none for one seed); points: every seed, moved sideways "
    "a little so that methods do not hide each other; dashed: the dense network with its interval.",
    "layer_density": "Kept weights of every layer. Thin lines: seeds; thick: their mean; grey: the "
    "density of the whole network; crosses: layers with nothing left in at least one seed.",
    "spectrum": "Eigenvalues of the empirical NTK at initialisation before (dense) and after "
    "pruning. Thin lines: seeds; thick: their geometric mean.",
    "learning_curves": "Learning curves. Thin lines: seeds; thick: their mean. The steep start may "
    "leave the panel.",
}


_NOTHING = "\N{EN DASH}"


@dataclasses.dataclass(frozen=True)
class Table:
    """Column heads and rows of texts. ``numbers`` are the indices of right-aligned columns."""

    heads: list[str]
    rows: list[list[str]]
    numbers: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure on the page: its file name without suffix, caption, width and PNG in base64."""

    name: str
    caption: str
    inches: float
    png: str


@dataclasses.dataclass(frozen=True)
class Other:
    """A run without training: its title, figures ``(name, PNG in base64)`` and final numbers."""

    title: str
    pictures: list[tuple[str, str]]
    numbers: Table


def write(runs: Sequence[Run], out: Path) -> Path:
    """Write ``out/index.html`` and the figures; returns the page. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    others = [_other(run) for run in runs if not run.trains]
    runs = [run for run in runs if run.trains]
    finished = tables.replicates(runs)
    unfinished = [run for run in runs if not run.finished]
    pictures = [
        _picture(draw, group, name, out, "")
        for draw, group, name in _figures(finished)
    ]  # fmt: skip
    if len(tables.curves(unfinished)):
        note = "Unfinished runs, so far."
        name = "unfinished_learning_curves"
        pictures.append(_picture(figures.learning_curves, unfinished, name, out, note))
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("template.html")
    page = out / "index.html"
    html = template.render(
        counts=_counts(runs) + f", {len(others)} of other protocols" * bool(others),
        results=_results(finished),
        pictures=pictures,
        others=others,
        layers=list(_layer_tables(finished)),
        runs=_runs(runs),
        configs=_configs(runs),
        environments=_environments(runs),
    )
    page.write_text(html, encoding="utf-8")
    return page


def _other(run: Run) -> Other:
    """A run of a protocol that does not train: the figures it left and its final numbers."""
    title = f"{run.config['protocol']}, seed {run.seed}, {run.path}"
    pictures = [
        (png.stem, base64.b64encode(png.read_bytes()).decode())
        for png in sorted(run.path.glob("*.png"))
    ]
    rows = [[name, _plain(value)] for name, value in (run.done or {}).items()]
    return Other(title if run.finished else f"{title} (unfinished)", pictures,
                 Table(["", "final"], rows))  # fmt: skip


def _plain(value: Any) -> str:
    """A final number, or several by name, as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(v)}" for name, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figures(runs: Sequence[Run]) -> Iterator[tuple[Callable, list[Run], str]]:
    """``(figure function, runs, name)`` of every figure that these runs have data for."""
    if tables.summary(runs)["density"].nunique() > 1:
        yield figures.accuracy_vs_density, list(runs), "accuracy_vs_density"
    groups = _by_network(runs)
    for network, group in groups.items():
        suffix = "_" + re.sub(r"[^a-z0-9]+", "_", network.lower()) if len(groups) > 1 else ""
        if any(run.pruning and tables.target_density(run) < 1 for run in group):
            yield figures.layer_density, group, f"layer_density{suffix}"
        if any(run.spectrum for run in group):
            yield figures.spectrum, group, f"spectrum{suffix}"
        if len(tables.curves(group)):
            yield figures.learning_curves, group, f"learning_curves{suffix}"


def _by_network(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each data set and model."""
    groups: dict[str, list[Run]] = {}
    for label, run in zip(tables.labels(runs).to_dict("records"), runs, strict=True):
        groups.setdefault(f"{label['data']}, {label['model']}", []).append(run)
    return groups


def _picture(draw: Callable, runs: list[Run], name: str, out: Path, note: str) -> Picture:
    figure = draw(runs)
    png, _ = figures.save(figure, out / name, ("png", "pdf"))
    seeds = tables.labels(runs).groupby(tables.EXPERIMENT)["seed"].nunique()
    where = "; ".join(_by_network(runs))
    caption = f"{note} {_CAPTIONS[draw.__name__]} {where}; {panels.in_words(seeds)} per line."
    encoded = base64.b64encode(png.read_bytes()).decode()
    return Picture(name, caption.strip(), figure.get_figwidth(), encoded)


def _counts(runs: Sequence[Run]) -> str:
    status = tables.overview(runs)["status"]
    finished, unfinished = (status == "finished").sum(), (status == "unfinished").sum()
    repeated = len(runs) - finished - unfinished
    parts = [f"{len(runs)} run{'s' * (len(runs) != 1)}", f"{finished} finished"]
    parts += [f"{unfinished} unfinished (in no mean)"] * bool(unfinished)
    parts += [f"{repeated} repeating another run's config and seed (in no mean)"] * bool(repeated)
    return ", ".join(parts)


def _results(runs: Sequence[Run]) -> Table:
    heads = ["data", "model", "method", "density (%)", "weights kept (%)", "test accuracy (%)", "n"]
    frame = tables.summary(runs).sort_values(
        ["data", "model", "density", "mean"], ascending=[True, True, False, False]
    )
    rows = [
        [row.data, row.model, row.method, per_cent(row.density), per_cent(row.achieved),
         with_interval(row.mean, row.half_width), str(row.n)]
        for row in frame.itertuples()
    ]  # fmt: skip
    return Table(heads, rows, (3, 4, 5, 6))


def per_cent(share: float | None) -> str:
    """``10.74`` for 0.107374, ``0.05`` for 0.0005; a dash where there is no number."""
    if share is None or math.isnan(share):
        return _NOTHING
    return f"{100 * share:.2f}" if share >= 0.001 or share == 0 else f"{100 * share:.2g}"


def with_interval(mean: float, half_width: float | None) -> str:
    """``91.23 ± 0.45`` in per cent; one seed has no interval."""
    interval = "" if half_width is None or math.isnan(half_width) else f" ± {100 * half_width:.2f}"
    return f"{100 * mean:.2f}{interval}"


def _number(value: float | None, digits: int = 4) -> str:
    return _NOTHING if value is None or math.isnan(value) else f"{value:.{digits}g}"


def _runs(runs: Sequence[Run]) -> Table:
    paths = [run.path.absolute() for run in runs]
    common = os.path.commonpath([path.parent for path in paths]) if paths else ""
    heads = [f"run in {common}", "status", "method", "density (%)", "kept / total", "seed",
             "test accuracy (%)", "train loss", "epochs", "pruning (s)", "hardware"]  # fmt: skip
    rows = [
        [str(path.relative_to(common)), row.status, row.method, per_cent(row.density),
         _fraction(row.kept, row.total), str(row.seed), per_cent(row.test_accuracy),
         _number(row.train_loss), _number(row.epochs), _number(row.prune_seconds, 3), row.hardware]
        for path, row in zip(paths, tables.overview(runs).itertuples(), strict=True)
    ]  # fmt: skip
    return Table(heads, rows, (3, 4, 5, 6, 7, 8, 9))


def _fraction(kept: float | None, total: float | None) -> str:
    if kept is None or total is None or math.isnan(kept):
        return _NOTHING
    return f"{int(kept):,} / {int(total):,}"


def _layer_tables(runs: Sequence[Run]) -> Iterator[tuple[str, int, Table]]:
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


def _configs(runs: Sequence[Run]) -> Table:
    frame = tables.configs(runs)
    return Table(list(frame.columns), [[_text(v) for v in row] for row in frame.to_numpy()])


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _environments(runs: Sequence[Run]) -> Table:
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
