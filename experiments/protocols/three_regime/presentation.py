"""What the report shows of grids of temperature and load."""

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.presentation import NamedFigure, Presentation, Section
from experiments.protocols.three_regime import figures, tables
from experiments.references import Reference
from experiments.runs import Run
from experiments.runs.labels import network_label
from experiments.runs.reading import read_json

_TEXT = (
    "Means over dense seeds ± half width of the Student-t 95 % interval, in per cent. LMC: the "
    "published connectivity of the training error; negative values are barriers."
)
_CAPTIONS = {
    "three_regime": "Test error, the same above the least of its density, connectivity and CKA of "
    "two retrainings of one mask, with the boundaries of the regimes.",
    "measures": "Other measures of two retrainings of one mask.",
}


def present(runs: Sequence[Run], published: Sequence[Reference] = ()) -> Presentation:  # noqa: ARG001
    """Tables and figures of every finished grid."""
    files = [(network_label(run), read_json(run.path / "results.json")) for run in runs]
    grids = [(network, results) for network, results in files if results is not None]
    counts = f"{len(runs)} grid{'s' * (len(runs) != 1)}, {len(grids)} measured"
    return Presentation([_section(*grid) for grid in grids], _figures(grids), counts=counts)


def _section(network: str, results: dict[str, Any]) -> Section:
    return Section(
        f"Three regimes: {network}", tables.overview(results), _TEXT, short="Three regimes"
    )


def _figures(grids: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[NamedFigure]:
    for number, (network, results) in enumerate(grids, start=1):
        for name, figure in figures.all_of(results).items():
            yield NamedFigure(f"{name}_{number}", f"{_CAPTIONS[name]} {network}.", figure)
