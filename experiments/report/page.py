"""Runs -> one self-contained HTML page, with the PNG and PDF of every figure beside it.

What is on it is the workflows' own: each is asked once for what its runs show together. What every
run has in common is added here.
"""

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from experiments.errors import UserError
from experiments.plotting.saving import save
from experiments.presentation import NamedFigure, Presentation, Section, Table
from experiments.protocols import PROTOCOLS
from experiments.references import Reference
from experiments.report import html_tables
from experiments.report.placing import PAGE, placed
from experiments.runs import Run, in_families


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure on the page: its file name without suffix, caption, width and PNG in base64."""

    name: str
    caption: str
    inches: float
    png: str


@dataclasses.dataclass(frozen=True)
class Other:
    """A run by itself: its title, figures ``(name, PNG in base64)`` and final numbers."""

    title: str
    pictures: list[tuple[str, str]]
    numbers: Table


def write(runs: Sequence[Run], out: Path, published: Sequence[Reference] = ()) -> Path:
    """Write ``out/index.html`` and the figures, all or nothing; returns the page.

    ``published`` curves are laid under the accuracies. Raises OSError; UserError when a published
    curve fits none of the runs, or ``out`` holds what no report wrote.
    """
    with placed(out) as folder:
        (folder / PAGE).write_text(_html(runs, folder, published), encoding="utf-8")
    return out / PAGE


def _html(runs: Sequence[Run], folder: Path, published: Sequence[Reference]) -> str:
    """The page; its figures are written into ``folder``."""
    presentations = present(runs, published)
    _check_laid([p for p, _ in presentations], published)
    others = [_other(run) for run in in_families(_by_themselves(runs, presentations))]
    return _template().render(
        counts=_counts([p for p, _ in presentations], len(others)),
        results=[section for p, _ in presentations for section in p.results],
        pictures=[_picture(figure, folder) for p, _ in presentations for figure in p.figures],
        published=_published(published),
        others=others,
        details=[section for p, _ in presentations for section in p.details],
        environments=html_tables.environments(runs),
    )


def present(
    runs: Sequence[Run], published: Sequence[Reference]
) -> list[tuple[Presentation, list[Run]]]:
    """What the workflows show, each of its own runs; protocols may share one presentation."""
    groups = {protocol.figures: [] for protocol in PROTOCOLS.values() if protocol.figures}
    for run in runs:
        protocol = PROTOCOLS.get(run.protocol)
        if protocol is not None and protocol.figures:
            groups[protocol.figures].append(run)
    return [(figures(group, published), group) for figures, group in groups.items() if group]


def _check_laid(presentations: Sequence[Presentation], published: Sequence[Reference]) -> None:
    """UserError for a published curve that no workflow lays under its own."""
    laid = {name for presentation in presentations for name in presentation.published}
    for reference in published:
        if reference.name not in laid:
            raise UserError(
                f"reference {reference.name} fits no run: it needs finished runs that prune and "
                "train; leave --reference out, or give such runs"
            )


def _by_themselves(
    runs: Sequence[Run], presentations: Sequence[tuple[Presentation, list[Run]]]
) -> list[Run]:
    """The runs that no workflow lists."""
    listed = {run for presentation, group in presentations if presentation.counts for run in group}
    return [run for run in runs if run not in listed]


def _template() -> jinja2.Template:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("template.html")


def _counts(presentations: Sequence[Presentation], others: int) -> str:
    """``22 runs, 21 finished, 1 unfinished (in no mean), 3 of other protocols``."""
    parts = [presentation.counts for presentation in presentations if presentation.counts]
    of_others = f"{others} of other protocols" if parts else f"{others} run{'s' * (others != 1)}"
    return ", ".join([*parts, *[of_others] * bool(others)])


def _picture(named: NamedFigure, out: Path) -> Picture:
    png, _ = save(named.figure, out / named.name, ("png", "pdf"))
    return Picture(named.name, named.caption, named.figure.get_figwidth(), _base64(png))


def _base64(png: Path) -> str:
    return base64.b64encode(png.read_bytes()).decode()


def _published(references: Sequence[Reference]) -> list[Section]:
    tables = [html_tables.published(reference) for reference in references]
    return [Section("Published numbers", tables, short="Published")] if tables else []


def _other(run: Run) -> Other:
    """The figures that a run left in its directory, and its final numbers."""
    title = f"{run.protocol}, seed {run.seed}, {run.path}"
    pictures = [(png.stem, _base64(png)) for png in sorted(run.path.glob("*.png"))]
    rows = [[name, _plain(value)] for name, value in (run.done or {}).items()]
    return Other(title if run.finished else f"{title} (unfinished)", pictures,
                 Table(["", "final"], rows))  # fmt: skip


def _plain(value: Any) -> str:
    """A final number, or several by name, as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(v)}" for name, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
