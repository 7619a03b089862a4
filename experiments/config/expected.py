"""Numbers that runs of a config should come to, as data: ``EXPECTED`` of a config file."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Expected:
    """A final number of the runs of a preset; of a share, all values are in per cent.

    ``printed`` numbers stand in a paper as digits, ``digitised`` ones were read off a figure, and
    those ``measured here`` come from runs of this project.
    """

    measure: str
    """The name of the final number."""
    value: float
    """What it is, the mean of ``n`` networks."""
    kind: Literal["printed", "digitised", "measured here"]
    """How it was obtained."""
    source: str
    """Where it stands or what it was measured with, and what ``plus_minus`` is."""
    plus_minus: float | None = None
    """The half width around it; None where there is none, as for a single network."""
    n: int | None = None
    """Networks behind it; None: unknown."""
    within_run: bool = False
    """The networks are the replicates of one run, not runs of several seeds."""
    preset: str | None = None
    """The preset of the config file; None: the default."""
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields in which the runs differ from the preset, by dotted name."""


def digitised(value: float, error: float, source: str, **rest: Any) -> Expected:
    """A test accuracy that was read off a figure, with the error of the reading."""
    measure = rest.pop("measure", "test/accuracy")
    return Expected(measure, value, "digitised", source, plus_minus=error, **rest)
