"""Runs -> one self-contained HTML page, with the PNG and PDF of every figure beside it."""

import base64
import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from experiments.report import accuracy, figures, lotteries, page_tables, panels, tables
from experiments.report.page_tables import Table
from experiments.report.references import Reference
from experiments.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTIONS = {
    "accuracy_vs_density": "Results on the test set after the last epoch against density. Lines: "
    "means over seeds; bars: Student-t 95 % intervals (none for one seed); points: every seed, "
    "moved sideways a little so that methods do not hide each other; dashed: the dense network "
    "with its interval.",
    "layer_density": "Kept weights of every layer. Thin lines: seeds; thick: their mean; grey: the "
    "density of the whole network; crosses: layers with nothing left in at least one seed.",
    "spectrum": "Eigenvalues of the empirical NTK at initialisation before (dense) and after "
    "pruning. Thin lines: seeds; thick: their geometric mean.",
    "learning_curves": "Learning curves. Thin lines: seeds; thick: their mean. The steep start may "
    "leave the panel.",
}

_PUBLISHED = (
    "Thin and pale, not measured here: {}. Their bars, where they have any, are printed standard "
    "deviations; hollow dots are rougher readings."
)


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


def write(runs: Sequence[Run], out: Path, published: Sequence[Reference] = ()) -> Path:
    """Write ``out/index.html`` and the figures; returns the page.

    ``published`` curves are laid under the accuracies. Raises OSError; UserError when a published
    curve fits none of the runs.
    """
    out.mkdir(parents=True, exist_ok=True)
    others = [_other(run) for run in lotteries.in_families(runs) if not run.trains]
    together, level_tables = list(lotteries.figures(runs)), list(lotteries.level_tables(runs))
    environments = page_tables.environments(runs)
    runs = [run for run in runs if run.trains]
    finished = tables.replicates(runs)
    unfinished = [run for run in runs if not run.finished]
    pictures = list(_pictures(finished, out, published))
    if len(tables.curves(unfinished)):
        figure = figures.learning_curves(unfinished)
        caption = f"Unfinished runs, so far. {_caption('learning_curves', unfinished)}"
        pictures.append(_picture(figure, out, "unfinished_learning_curves", caption))
    for number, (kind, network, figure) in enumerate(together, start=1):
        caption = f"{lotteries.CAPTIONS[kind]} {network}."
        pictures.append(_picture(figure, out, f"lottery_{number}_{kind}", caption))
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("template.html")
    page = out / "index.html"
    html = template.render(
        counts=_counts(runs, others),
        trains=bool(runs) or not others,
        lotteries=level_tables,
        measures=" or ".join(tables.measures(runs)),
        results=page_tables.results(finished),
        published=[(r.label, r.source, page_tables.published(r)) for r in published],
        pictures=pictures,
        others=others,
        layers=list(page_tables.layer_tables(finished)),
        runs=page_tables.runs(runs),
        configs=page_tables.configs(runs),
        environments=environments,
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


def _pictures(runs: Sequence[Run], out: Path, published: Sequence[Reference]) -> Iterator[Picture]:
    """Every figure that these runs have data for."""
    table = tables.summary(runs)
    if table["density"].nunique() > 1 or (published and len(table)):
        figure = accuracy.accuracy_vs_density(runs, published)
        caption = _caption("accuracy_vs_density", runs)
        if published:
            caption += " " + _PUBLISHED.format("; ".join(r.label for r in published))
        yield _picture(figure, out, "accuracy_vs_density", caption)
    groups = _by_network(runs)
    for network, group in groups.items():
        suffix = "_" + re.sub(r"[^a-z0-9]+", "_", network.lower()) if len(groups) > 1 else ""
        drawn = []
        if any(run.pruning and tables.target_density(run) < 1 for run in group):
            drawn.append(figures.layer_density)
        if any(run.spectrum for run in group):
            drawn.append(figures.spectrum)
        if len(tables.curves(group)):
            drawn.append(figures.learning_curves)
        for draw in drawn:
            kind = draw.__name__
            yield _picture(draw(group), out, f"{kind}{suffix}", _caption(kind, group))


def _by_network(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each data set and model."""
    groups: dict[str, list[Run]] = {}
    for label, run in zip(tables.labels(runs).to_dict("records"), runs, strict=True):
        groups.setdefault(f"{label['data']}, {label['model']}", []).append(run)
    return groups


def _caption(kind: str, runs: Sequence[Run]) -> str:
    seeds = tables.labels(runs).groupby(tables.EXPERIMENT)["seed"].nunique()
    where = "; ".join(_by_network(runs))
    return f"{_CAPTIONS[kind]} {where}; {panels.in_words(seeds)} per line."


def _picture(figure: "Figure", out: Path, name: str, caption: str) -> Picture:
    png, _ = figures.save(figure, out / name, ("png", "pdf"))
    encoded = base64.b64encode(png.read_bytes()).decode()
    return Picture(name, caption, figure.get_figwidth(), encoded)


def _counts(runs: Sequence[Run], others: Sequence[Other]) -> str:
    plural = "s" * (len(others) != 1)
    of_others = f"{len(others)} of other protocols" if runs else f"{len(others)} run{plural}"
    parts = [_counts_of(runs)] * bool(runs or not others) + [of_others] * bool(others)
    return ", ".join(parts)


def _counts_of(runs: Sequence[Run]) -> str:
    status = tables.overview(runs)["status"]
    finished, unfinished = (status == "finished").sum(), (status == "unfinished").sum()
    repeated = len(runs) - finished - unfinished
    parts = [f"{len(runs)} run{'s' * (len(runs) != 1)}", f"{finished} finished"]
    parts += [f"{unfinished} unfinished (in no mean)"] * bool(unfinished)
    parts += [f"{repeated} repeating another run's config and seed (in no mean)"] * bool(repeated)
    return ", ".join(parts)
