"""A sweep as data: cells that set fields of configs, and axes to build them from."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Fields = dict[str, Any]
"""Dotted names of fields and their values; ``config`` names another config file."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Runs that belong together.

    Every cell is a run: its fields replace those of ``config``, a ``FILE.py[:preset]``, or of the
    one that the cell names as its own ``config``. Values are what ``--config.FIELD=VALUE`` takes.
    """

    config: str
    cells: Sequence[Mapping[str, Any]]


def axis(field: str, values: Iterable[Any]) -> list[Fields]:
    """One cell for each value of a field.

    >>> axis("seed", range(2))
    [{'seed': 0}, {'seed': 1}]
    """
    return [{field: value} for value in values]


def product(*axes: Sequence[Fields]) -> list[Fields]:
    """Every cell of one axis with every cell of the others; the last axis changes fastest.

    Raises ValueError where two axes set one field.

    >>> product(axis("prune.density", [0.5]), axis("seed", range(2)))
    [{'prune.density': 0.5, 'seed': 0}, {'prune.density': 0.5, 'seed': 1}]
    """
    return [_merged(cells) for cells in itertools.product(*axes)]


def zipped(*axes: Sequence[Fields]) -> list[Fields]:
    """The first cells of all axes together, then the second ones, and so on.

    Raises ValueError for axes of different lengths, or where two set one field.

    >>> zipped(axis("prune.name", ["snip", "random"]), axis("seed", [3, 4]))
    [{'prune.name': 'snip', 'seed': 3}, {'prune.name': 'random', 'seed': 4}]
    """
    return [_merged(cells) for cells in zip(*axes, strict=True)]


def _merged(cells: Iterable[Fields]) -> Fields:
    merged: Fields = {}
    for cell in cells:
        if twice := sorted(merged.keys() & cell.keys()):
            raise ValueError(f"two axes set {', '.join(twice)}")
        merged |= cell
    return merged
