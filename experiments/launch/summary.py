"""The final numbers of finished cells as means over seeds."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.launch.cells import Cell
from experiments.plotting.statistics import mean_interval
from experiments.presentation import NOTHING, Table, heading, is_share, number, with_interval
from experiments.store import Store

Interval = tuple[float, float | None, int]


class Group(NamedTuple):
    """Cells that differ in their seed alone, and the intervals of their final numbers."""

    label: str
    intervals: Mapping[str, Interval]


def summarise(cells: Sequence[Cell]) -> list[Group]:
    """The groups of finished cells, in the order of their first cells.

    Numbers are those of ``DONE``; a list is one value for each replicate, the seeds that follow the
    cell's own, and every seed counts once.
    """
    labels: dict[Any, str] = {}
    samples: dict[Any, dict[str, dict[int, float]]] = {}
    for cell in cells:
        key = cell.workdir.parent  # all but the seed
        labels.setdefault(key, cell.group)
        done = Store(cell.workdir, cell.config).done or {}
        for name, value in done.items():
            values = value if isinstance(value, list) else [value]
            if values and all(map(_is_number, values)):
                seeds = samples.setdefault(key, {}).setdefault(name, {})
                seeds |= {cell.config.seed + r: float(v) for r, v in enumerate(values)}
    return [
        Group(labels[key], {n: mean_interval(v.values()) for n, v in numbers.items()})
        for key, numbers in samples.items()
    ]


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def as_table(groups: Sequence[Group]) -> Table:
    """Mean and Student-t 95 % half width of the numbers that are not the same everywhere."""
    names = [n for n in _names(groups) if len({g.intervals.get(n) for g in groups}) > 1]
    names = names or _names(groups)
    rows = [
        [g.label, *(_shown(n, g.intervals.get(n)) for n in names), str(_count(g))] for g in groups
    ]
    heads = ["cells", *map(heading, names), "n"]
    return Table(heads, rows, range(1, len(heads)), "Means over seeds \N{PLUS-MINUS SIGN} "
                 "Student-t 95 % half width")  # fmt: skip


def as_csv(groups: Sequence[Group]) -> str:
    """All numbers: three columns for each, its mean, half width and n."""
    names, text = _names(groups), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cells", *(f"{n}{end}" for n in names for end in ("", "/half_width", "/n"))])
    for group in groups:
        intervals = [group.intervals.get(name, ("", None, 0)) for name in names]
        cells = [("" if x is None else x) for interval in intervals for x in interval]
        writer.writerow([group.label, *cells])
    return text.getvalue()


def _names(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(name for group in groups for name in group.intervals))


def _count(group: Group) -> int:
    return max(n for _, _, n in group.intervals.values())


def _shown(name: str, interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    mean, half_width, _ = interval
    if is_share(name):
        return with_interval(mean, half_width)
    return number(mean) + (f" ± {number(half_width, 2)}" if half_width is not None else "")
