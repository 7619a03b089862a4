"""Published grids of temperature and density, to be drawn beside one's own.

``grids/*.json``, one file per figure. A file holds the source, what its ``temperature``
is, the values of both axes, and ``grids``, each with the error of reading it off the figure.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from experiments.errors import UserError

FOLDER = Path(__file__).parent / "grids"


@dataclasses.dataclass(frozen=True)
class Grid:
    """One measure: ``values [T, D]``, a row for each temperature from the highest down."""

    title: str
    unit: str
    reading_error: float
    values: np.ndarray


@dataclasses.dataclass(frozen=True)
class PublishedGrids:
    """The grids of one figure, by measure: ``test_error``, ``lmc``, ``cka``.

    ``temperature`` is the setting that ``temperatures [T]`` are values of. Digitised values are
    nowhere printed: a drawing of them has to say so.
    """

    paper: str
    citation: str
    arxiv: str
    where: str
    digitised: bool
    runs: str
    title: str
    data: list[str]
    model: list[str]
    note: str
    temperature: str
    temperatures: list[float]
    density: list[float]
    grids: dict[str, Grid]

    @property
    def label(self) -> str:
        """``Three-regime model, Fig. 2, CIFAR-10, PreResNet-20, digitised``."""
        kind = "digitised" if self.digitised else "printed"
        return f"{self.paper}, {self.where}, {self.title}, {kind}"

    @property
    def source(self) -> str:
        """The citation and the notes."""
        return f"{self.citation}, arXiv {self.arxiv}. {self.note}"


def load_grids(name: str) -> PublishedGrids:
    """The grids of that name. UserError names the ones that exist."""
    files = {file.stem: file for file in sorted(FOLDER.glob("*.json"))}
    if name not in files:
        raise UserError(f"unknown published grid {name!r}; there are: {', '.join(files)}")
    figure = json.loads(files[name].read_text(encoding="utf-8"))
    grids = {
        measure: Grid(**grid | {"values": np.array(grid["values"])})
        for measure, grid in figure.pop("grids").items()
    }
    return PublishedGrids(**figure, grids=grids)
