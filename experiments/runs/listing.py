"""Rows as a table: what differs between the runs, their final numbers, and below it the rest."""

import textwrap
from collections.abc import Sequence
from typing import Any

from experiments.presentation import NOTHING, Table
from experiments.runs.index import Row
from experiments.runs.labels import differing, text


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The path, what differs between the runs, and the final numbers."""
    numbers = dict.fromkeys(name for row in rows for name in row.numbers)
    varying = [n for n in differing([row.fields for row in rows]) if n not in numbers]
    return ["path", *[n for n in varying if n != "path"], *numbers]


def table(rows: Sequence[Row], columns: Sequence[str]) -> Table:
    """A line per run; a dash where a run has no such field."""
    texts = [[text_of(row.fields.get(name)) for name in columns] for row in rows]
    numbers = [
        i
        for i, name in enumerate(columns)
        if all(isinstance(row.fields.get(name), int | float | None) for row in rows)
    ]
    return Table(columns, texts, numbers)


def constants(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """What all runs have in common and no column shows, once."""
    varying = {*differing([row.fields for row in rows]), *columns}
    same = {n: v for n, v in rows[0].fields.items() if n not in varying and v is not None}
    parts = [f"{name} {text_of(value)}".replace(" ", "\N{NO-BREAK SPACE}")
             for name, value in same.items()]  # fmt: skip
    filled = textwrap.fill(f"the same in all runs: {', '.join(parts)}", 100,
                           break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return filled.replace("\N{NO-BREAK SPACE}", " ")


def text_of(value: Any) -> str:
    """A value in six digits; a dash for none."""
    if value is None:
        return NOTHING
    return f"{value:.6g}" if isinstance(value, float) else text(value)
