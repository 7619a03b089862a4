"""Published curves, to be laid under one's own: one JSON file per figure or table.

A file holds the source, the printed ``sparsity`` labels (%), the exact ``density`` of each, and
``panels``; the fields of a panel are those of ``Reference``. Values are in per cent; null: hidden
by another curve or off the plot. Digitised values were read off a figure and are nowhere printed.
"""

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from experiments.errors import UserError

FOLDER = Path(__file__).parent

Values = dict[str, list[float | None]]
"""By method, as in a run's legend; one value per sparsity."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """One panel of a published figure, or one table: ``methods`` against ``density``.

    ``reading_error`` is that of a digitised value and ``coarser`` that of single methods, both in
    points; ``approximate`` lists the sparsities of even rougher readings. ``plus_minus`` is the
    printed standard deviation. ``data``, ``model`` and ``weights`` (their source; none: drawn) are
    the names that such runs have here.
    """

    name: str
    paper: str
    citation: str
    arxiv: str
    where: str
    title: str
    digitised: bool
    sparsity: list[float]
    density: list[float]
    methods: Values
    data: list[str]
    model: list[str]
    note: str
    weights: Sequence[str] = ("none",)
    measure: str = "test/accuracy"
    reading_error: float = 0.0
    coarser: dict[str, float] = dataclasses.field(default_factory=dict)
    approximate: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    plus_minus: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    dense: float | None = None
    runs: int | None = None

    @property
    def kind(self) -> str:
        """``printed``, or ``digitised (±0.03 to ±0.3)``; with what ``±`` means."""
        if not self.digitised:
            return "printed (± standard deviation)" if self.plus_minus else "printed"
        errors = sorted({self.reading_error, *self.coarser.values()})
        return f"digitised ({' to '.join(f'±{error:g}' for error in errors)})"

    @property
    def label(self) -> str:
        """``PX paper, Fig. 2, CIFAR-10, ResNet-20, digitised (±0.03)``."""
        return f"{self.paper} paper, {self.where}, {self.title}, {self.kind}"

    @property
    def source(self) -> str:
        """The citation and the notes."""
        return f"{self.citation}, arXiv {self.arxiv}. {self.note}"

    def is_approximate(self, method: str) -> list[bool]:
        """Which values of ``method`` are rougher readings than the others."""
        return [sparsity in self.approximate.get(method, ()) for sparsity in self.sparsity]

    def fits(self, data: str, model: str, measure: str) -> bool:
        """Whether runs with these labels have the same data, kind of network and measure.

        A folder of images may hold any data.
        """
        name, *options = model.split(" ")
        weights = [o.removeprefix("weights=") for o in options if o.startswith("weights=")]
        same = name in self.model and (weights or ["none"])[0] in self.weights
        return same and data.split(" ")[0] in (*self.data, "folder") and measure == self.measure


def load(names: Sequence[str]) -> list[Reference]:
    """The references of these names, each once. UserError names the ones that exist."""
    known = _known()
    for name in names:
        if name not in known:
            raise UserError(f"unknown reference {name!r}; there are: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]


def place(
    references: Sequence[Reference], panels: Sequence[tuple[str, str, str]]
) -> list[list[Reference]]:
    """What is laid under each ``(data, model, measure)`` of ``panels``.

    UserError names a reference that has no place.
    """
    placed: list[list[Reference]] = [[] for _ in panels]
    for reference in references:
        fitting = [reference.fits(*panel) for panel in panels]
        if not any(fitting):
            shown = "; ".join(", ".join(panel) for panel in panels)
            raise UserError(
                f"reference {reference.name} ({reference.data[0]}, {reference.model[0]}, "
                f"{reference.measure}) fits none of: {shown}; "
                "choose another, or report runs on these data"
            )
        for under in itertools.compress(placed, fitting):
            under.append(reference)
    return placed


def describe() -> str:
    """A line per reference: its name and what it is."""
    known = _known()
    width = max(map(len, known))
    return "\n".join(f"{name:<{width}}  {known[name].label}" for name in known)


def _known() -> dict[str, Reference]:
    return {
        reference.name: reference
        for file in sorted(FOLDER.glob("*.json"))
        for reference in _read(file)
    }


def _read(file: Path) -> list[Reference]:
    """All panels of a file; what a panel says goes before what the file says, notes add up."""
    figure = json.loads(file.read_text(encoding="utf-8"))
    panels = figure.pop("panels")
    return [
        Reference(
            **figure
            | {"name": f"{file.stem}_{key}"}
            | panel
            | {"note": f"{figure['note']} {panel.get('note', '')}".strip()}
        )
        for key, panel in panels.items()
    ]
