"""Methods against each other on the seeds that they share, with Holm's correction.

A family of tests is all pairs of one table: of one data set, network and density.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.errors import UserError
from experiments.plotting.statistics import Difference, holm, paired_difference
from experiments.presentation import Table, is_share, number, with_interval
from experiments.runs.index import Row
from experiments.runs.labels import differing, material
from experiments.runs.listing import text_of

Values = Mapping[str, Mapping[int, float]]
"""Method -> seed -> what it reached."""

EXPLANATION = (
    "First minus second on the seeds that both have: mean ± half width of the Student-t 95 % "
    "interval, and the p-value of the paired t-test, adjusted by Holm over the table. One shared "
    "seed has no interval; equal differences have no test."
)

_BELONGING = ("options", "num_examples", "batch_size", "balanced")
"""What comes with the name of a criterion or network in its section of the config."""


class Pair(NamedTuple):
    """Two methods; ``difference`` is None where they share no seed."""

    first: str
    second: str
    difference: Difference | None
    adjusted: float | None


def pairs(values: Values) -> list[Pair]:
    """Every two methods, those with the higher mean first."""
    by_mean = sorted(values, key=lambda m: -sum(values[m].values()) / len(values[m]))
    names = list(itertools.combinations(by_mean, 2))
    differences = [_difference(values[a], values[b]) for a, b in names]
    p_values = {i: d.p_value for i, d in enumerate(differences) if d and d.p_value is not None}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [
        Pair(*pair, difference, adjusted.get(i))
        for i, (pair, difference) in enumerate(zip(names, differences, strict=True))
    ]


def _difference(a: Mapping[int, float], b: Mapping[int, float]) -> Difference | None:
    shared = sorted(a.keys() & b.keys())
    return paired_difference([a[s] for s in shared], [b[s] for s in shared]) if shared else None


def table(values: Values, measure: str, title: str) -> Table:
    """A row per pair; differences of shares are in per-cent points."""
    unit = " (points)" if is_share(measure) else f" of {measure}"
    rows = [
        [pair.first, pair.second, _text(pair.difference, measure),
         str(pair.difference.n if pair.difference else 0), number(pair.adjusted, 3)]
        for pair in pairs(values)
    ]  # fmt: skip
    return Table(["first", "second", f"difference{unit}", "n", "p (Holm)"], rows, (2, 3, 4), title)


def _text(difference: Difference | None, measure: str) -> str:
    if difference is None:
        return "no shared seed"
    mean, half_width, *_ = difference
    if is_share(measure):
        return with_interval(mean, half_width)
    return number(mean) if half_width is None else f"{number(mean)} ± {number(half_width, 2)}"


def by_field(rows: Sequence[Row], field: str, measure: str) -> list[Table]:
    """The values of ``field`` against each other, among runs that agree in everything else.

    With the name of a criterion come its options and examples; what changes no number may differ.
    Raises UserError where there is nothing to compare, or one seed has several numbers.
    """
    groups: dict[str, list[Row]] = {}
    for row in _measured(rows, field, measure):
        groups.setdefault(json.dumps(_others(row, field), default=str), []).append(row)
    groups = {k: g for k, g in groups.items() if len({row.settings[field] for row in g}) > 1}
    if not groups:
        raise UserError(_nothing(rows, field, measure))
    first = [_others(group[0], field) for group in groups.values()]
    names = differing(first)
    titles = [", ".join(f"{n} {text_of(c.get(n))}" for n in names) for c in first]
    return [
        table(_values(group, field, measure), measure, title)
        for title, group in zip(titles, groups.values(), strict=True)
    ]


def _measured(rows: Sequence[Row], field: str, measure: str) -> list[Row]:
    """The finished runs that have both."""
    measured = [r for r in rows if r.settings.get(field) is not None and measure in r.numbers]
    for row in measured:
        if not isinstance(row.numbers[measure], int | float):
            raise UserError(f"{row.path}: {measure} is no single number; give another --measure")
    return measured


def _others(row: Row, field: str) -> dict[str, Any]:
    """What has to agree between runs that are compared by ``field``."""
    section, _, leaf = field.rpartition(".")
    own = [f"{section}.{part}" for part in _BELONGING] if leaf == "name" and section else []
    return {
        name: value
        for name, value in material(row.settings).items()
        if name != field and not any(name == o or name.startswith(f"{o}.") for o in own)
    }


def _values(group: Sequence[Row], field: str, measure: str) -> Values:
    """One number per value and seed; the same run again counts once."""
    chosen: dict[tuple[str, int], Row] = {}
    for row in group:
        key = text_of(row.settings[field]), row.settings.get("seed", 0)
        other = chosen.setdefault(key, row)
        names = differing([material(other.settings), material(row.settings)])
        if names:
            raise UserError(
                f"{other.path} and {row.path} both are {field} {key[0]}, seed {key[1]}, and differ "
                f"in {', '.join(names)}; choose with --where"
            )
    values: dict[str, dict[int, float]] = {}
    for (name, seed), row in chosen.items():
        values.setdefault(name, {})[seed] = row.numbers[measure]
    return values


def _nothing(rows: Sequence[Row], field: str, measure: str) -> str:
    """Why no runs can be compared."""
    measured = _measured(rows, field, measure)
    if not measured:
        return f"no finished run has both {field} and {measure}"
    if len({row.settings[field] for row in measured}) == 1:
        return f"all runs have {field} {text_of(measured[0].settings[field])}: nothing to compare"
    names = differing([_others(row, field) for row in measured])
    return f"no runs differ in {field} alone: they differ in {', '.join(names)} as well"
