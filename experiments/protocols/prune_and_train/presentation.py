"""What the report shows of networks that were pruned and trained, by whichever protocol."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from experiments.plotting import panels
from experiments.presentation import NamedFigure, Presentation, Section
from experiments.protocols.prune_and_train import html_tables, tables
from experiments.protocols.prune_and_train.accuracy import accuracy_vs_density
from experiments.protocols.prune_and_train.figures import (
    layer_density,
    learning_curves,
    spectrum,
)
from experiments.references import Reference
from experiments.runs import Run, comparing
from experiments.runs.labels import network_label

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


def present(runs: Sequence[Run], published: Sequence[Reference] = ()) -> Presentation:
    """Results, layers, runs and configs as tables; accuracies, layers, spectra and curves drawn.

    ``published`` curves are laid under the accuracies; UserError where one fits none of the runs.
    """
    finished = tables.replicates(runs)
    return Presentation(
        results=[_results(runs, finished)],
        figures=_figures(runs, finished, published),
        details=[_comparisons(finished), _layers(finished), _runs(runs), _configs(runs)],
        counts=_counts(runs),
        published=[reference.name for reference in published] if finished else (),
    )


def _results(runs: Sequence[Run], finished: Sequence[Run]) -> Section:
    table = html_tables.results(finished)
    if not table.rows:
        return Section("Results", text="No finished run has been tested yet.")
    text = (
        f"Mean {' or '.join(tables.measures(runs))} after the last epoch over n seeds ± half width "
        "of the Student-t 95 % interval; a single seed has no interval. Density is the kept share "
        "of the prunable weights."
    )
    return Section("Results", [table, *html_tables.curvature(finished)], text)


def _comparisons(finished: Sequence[Run]) -> Section:
    compared = list(html_tables.comparisons(finished))
    text = comparing.EXPLANATION if compared else "No two methods have a density in common."
    return Section("Comparisons", compared, text)


def _layers(finished: Sequence[Run]) -> Section:
    layers = list(html_tables.layers(finished))
    return Section("Layers", layers, "" if layers else "No finished run is pruned.")


def _runs(runs: Sequence[Run]) -> Section:
    return Section("Runs", [html_tables.runs(runs)])


def _configs(runs: Sequence[Run]) -> Section:
    table = html_tables.configs(runs)
    title, differ = "What differs between the configs", len(table.rows) > 1
    if differ:
        return Section(title, [table], short="Configs")
    return Section(title, text="Nothing but the seed.", short="Configs")


def _counts(runs: Sequence[Run]) -> str:
    status = tables.overview(runs)["status"]
    finished, unfinished = (status == "finished").sum(), (status == "unfinished").sum()
    repeated = len(runs) - finished - unfinished
    parts = [f"{len(runs)} run{'s' * (len(runs) != 1)}", f"{finished} finished"]
    parts += [f"{unfinished} unfinished (in no mean)"] * bool(unfinished)
    parts += [f"{repeated} repeating another run's config and seed (in no mean)"] * bool(repeated)
    return ", ".join(parts)


def _figures(
    runs: Sequence[Run], finished: Sequence[Run], published: Sequence[Reference]
) -> Iterator[NamedFigure]:
    """Every figure that these runs have data for."""
    table = tables.summary(finished)
    if table["density"].nunique() > 1 or (published and len(table)):
        yield _accuracies(finished, published)
    networks = _by_network(finished)
    for network, group in networks.items():
        suffix = "_" + re.sub(r"[^a-z0-9]+", "_", network.lower()) if len(networks) > 1 else ""
        for draw in _drawable(group):
            kind = draw.__name__
            yield NamedFigure(f"{kind}{suffix}", _caption(kind, group), draw(group))
    unfinished = [run for run in runs if not run.finished]
    if tables.has_curves(unfinished):
        caption = f"Unfinished runs, so far. {_caption('learning_curves', unfinished)}"
        figure = learning_curves(unfinished)
        yield NamedFigure("unfinished_learning_curves", caption, figure)


def _accuracies(runs: Sequence[Run], published: Sequence[Reference]) -> NamedFigure:
    figure = accuracy_vs_density(runs, published)
    caption = _caption("accuracy_vs_density", runs)
    if published:
        caption += " " + _PUBLISHED.format("; ".join(r.label for r in published))
    return NamedFigure("accuracy_vs_density", caption, figure)


def _drawable(runs: Sequence[Run]) -> Iterator[Callable[[Sequence[Run]], "Figure"]]:
    """The figures of one network that these runs have data for."""
    if any(run.pruning and tables.target_density(run) < 1 for run in runs):
        yield layer_density
    if any(run.has_spectrum for run in runs):
        yield spectrum
    if tables.has_curves(runs):
        yield learning_curves


def _by_network(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each data set and network."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(network_label(run), []).append(run)
    return groups


def _caption(kind: str, runs: Sequence[Run]) -> str:
    seeds = tables.labels(runs).groupby(tables.EXPERIMENT)["seed"].nunique()
    return f"{_CAPTIONS[kind]} {'; '.join(_by_network(runs))}; {panels.in_words(seeds)} per line."
