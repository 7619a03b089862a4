"""Finished runs against the numbers that their configs expect.

A run is compared with a number where its config is that of the preset, with the changes that the
number says, in every field that both have and that changes a result; the seeds are the replicates.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.config.expected import Expected
from experiments.config.loading import load, module_of, to_dict
from experiments.errors import UserError
from experiments.plotting.statistics import mean_interval
from experiments.presentation import is_share
from experiments.runs.index import Row
from experiments.runs.labels import material
from experiments.runs.listing import text_of
from experiments.runs.reading import flatten

PASS, FAIL, OTHER, DIGITISED = "pass", "fail", "not comparable", "digitised"

SHOWN = 4
"""Differing fields that a verdict names."""


@dataclasses.dataclass(frozen=True)
class Expectation:
    """An expected number, the file and preset that it is of, and their config with its changes."""

    expected: Expected
    source: str
    settings: Mapping[str, Any]


class Verdict(NamedTuple):
    """What is to be said of one run: a word, and why."""

    path: Path
    word: str
    why: str


def expectations(folder: Path) -> list[Expectation]:
    """All ``EXPECTED`` of the config files in ``folder``. UserError where there is none."""
    known = []
    for file in sorted(folder.glob("*.py")):
        for expected in getattr(module_of(file), "EXPECTED", ()):
            source = f"{file}:{expected.preset}" if expected.preset else str(file)
            config = flatten(to_dict(load(source)))
            changed = {**config, **flatten(expected.where)}
            known.append(Expectation(expected, source, _comparable(changed)))
    if not known:
        raise UserError(f"no config in {folder.absolute()} expects a number")
    return known


def verdicts(rows: Sequence[Row], known: Sequence[Expectation]) -> list[Verdict]:
    """One for each run and number that it is compared with, or one that says why there is none."""
    said: dict[Path, list[Verdict]] = {row.path: [] for row in rows}
    for group in _replicates(rows):
        for expectation in _fitting(group[0], known):
            verdict = _judge(group, expectation)
            for row in group:
                said[row.path].append(verdict._replace(path=row.path))
    for row in rows:
        said[row.path] = said[row.path] or [Verdict(row.path, OTHER, _why_not(row, known))]
    return [verdict for of_run in said.values() for verdict in of_run]


def _replicates(rows: Sequence[Row]) -> list[list[Row]]:
    """The finished runs by their config without the seed."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.state == "finished":
            key = json.dumps(_comparable(row.settings), sort_keys=True, default=str)
            groups.setdefault(key, []).append(row)
    return list(groups.values())


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What has to agree: neither where data and weights lie, nor what changes no result."""
    compared = {n: v for n, v in material(settings).items() if n != "data.data_dir"}
    if "model.weights" in compared:
        compared["model.weights"] = "some" if compared["model.weights"] else None
    return compared


def _differences(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """``data.name folder (expected cifar10)``; a field that only one of them has is passed over."""
    return [
        f"{name} {text_of(value)} (expected {text_of(wanted[name])})"
        for name, value in settings.items()
        if name in wanted and value != wanted[name]
    ]


def _fitting(row: Row, known: Sequence[Expectation]) -> list[Expectation]:
    settings = _comparable(row.settings)
    return [e for e in known if not _differences(settings, e.settings)]


def _why_not(row: Row, known: Sequence[Expectation]) -> str:
    """The differences from the nearest config that expects a number."""
    if row.state != "finished":
        return "unfinished"
    protocol, settings = row.settings.get("protocol"), _comparable(row.settings)
    same = [e for e in known if e.settings["protocol"] == protocol]
    if not same:
        return f"no config expects a number of the protocol {protocol}"
    all_differences = [(_differences(settings, e.settings), e.source) for e in same]
    differences, source = min(all_differences, key=lambda pair: len(pair[0]))
    more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    return f"{', '.join(differences[:SHOWN])}{more}; the nearest is {source}"


def _judge(group: Sequence[Row], expectation: Expectation) -> Verdict:
    """All runs of one config, each seed once, against one number."""
    expected, path = expectation.expected, group[0].path
    by_seed = {row.settings.get("seed"): row for row in reversed(group)}
    values = [_values(row, expected) for row in by_seed.values()]
    missing = [row.path for row, own in zip(by_seed.values(), values, strict=True) if not own]
    if missing:
        return Verdict(path, OTHER, f"{missing[0]} has no number {expected.measure}")
    mean, half_width, n = mean_interval([value for own in values for value in own])
    if expected.within_run and half_width is None:
        half_width, n = expected.plus_minus, expected.n  # the mean alone is stored
    gap = abs(mean - expected.value) - (half_width or 0.0) - (expected.plus_minus or 0.0)
    word, reason = _word(expected, half_width, n or 0, gap)
    return Verdict(path, word, reason + _comparison(mean, half_width, n, expectation))


def _values(row: Row, expected: Expected) -> list[float]:
    """One number, or those of the replicates; of shares in per cent."""
    stored = row.numbers.get(expected.measure)
    values = stored if isinstance(stored, tuple) else (stored,)
    scale = 100 if is_share(expected.measure) else 1
    return [scale * v for v in values if isinstance(v, int | float)]


def _word(expected: Expected, half_width: float | None, n: int, gap: float) -> tuple[str, str]:
    """The verdict, and the reason where the numbers alone do not say it."""
    if expected.kind == DIGITISED:
        return DIGITISED, ""
    if expected.plus_minus is None:
        return OTHER, "the expected number has no interval; "
    if half_width is None:
        return OTHER, "n = 1, a single run has no interval; "
    if n < (expected.n or 2) and not expected.within_run:
        return OTHER, f"seeds missing, {n} of {expected.n}; "
    return (PASS if gap <= 0 else FAIL), ""


def _comparison(mean: float, half_width: float | None, n: int | None, e: Expectation) -> str:
    """``test/accuracy 85.30 ± 1.20 (n = 5), expected 85.10 ± 1.90, difference +0.20; ...``."""
    expected = e.expected
    own, wanted = (
        f"{value:.5g}" + ("" if half is None else f" ± {half:.2g}")
        for value, half in ((mean, half_width), (expected.value, expected.plus_minus))
    )
    return (
        f"{expected.measure} {own} (n = {n}), expected {wanted}, difference "
        f"{mean - expected.value:+.2g}; {expected.kind}: {expected.source}; {e.source}"
    )
