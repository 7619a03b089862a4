"""Rows by conditions on their fields: ``prune.density<0.1``, ``prune.name=snip``."""

import dataclasses
import math
import operator
import re
from collections.abc import Sequence
from typing import Any

from experiments.config.options import nearest
from experiments.errors import UserError
from experiments.runs.index import Row
from experiments.runs.walking import natural

CLOSE = 1e-5
"""Relative distance within which a number with decimals is the one that was typed."""

_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CONDITION = re.compile(r"(?P<name>.+?)\s*(?P<sign>!=|<=|>=|==?|<|>)\s*(?P<text>.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Condition:
    """``name sign text``, where ``name`` is the whole name of a field."""

    name: str
    sign: str
    text: str

    def holds(self, value: Any) -> bool:
        """Whether a stored value, whose type the text takes, fulfils it; a missing one is None.

        Raises ValueError where the text cannot be of that type.
        """
        if self.sign in ("=", "==", "!="):
            return _is(value, self.text) == (self.sign != "!=")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("no number")
        bound = float(self.text)
        equal = not isinstance(value, int) and math.isclose(value, bound, rel_tol=CLOSE)
        return "=" in self.sign if equal else _OPERATORS[self.sign](value, bound)


def _is(value: Any, text: str) -> bool:
    """Whether ``text``, read as a value of the same type, is ``value``."""
    if isinstance(value, bool) or value is None:
        return text.lower() in (str(value).lower(), "null" if value is None else "")
    if isinstance(value, int):
        return value == float(text)
    if isinstance(value, float):
        return math.isclose(value, float(text), rel_tol=CLOSE)
    if isinstance(value, tuple):
        parts = text.replace(",", " ").split()
        return len(parts) == len(value) and all(map(_is, value, parts))
    return str(value) == text


def select(rows: Sequence[Row], conditions: Sequence[str]) -> list[Row]:
    """The rows that fulfil all ``conditions``, each a text such as ``density<=0.1``.

    Raises UserError for what is no condition, an unknown field, or a text that is no value of it.
    """
    for text in conditions:
        rows = _fulfilling(rows, _parse(text, rows))
    return list(rows)


def _parse(text: str, rows: Sequence[Row]) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise UserError(
            f"--where: {text!r} is no condition; write FIELD=VALUE, or one of != < <= > >= for ="
        )
    name, sign, value = match.group("name", "sign", "text")
    return Condition(full_name(name, rows), sign, value)


def _fulfilling(rows: Sequence[Row], condition: Condition) -> list[Row]:
    chosen, refused, fits = [], None, False
    for row in rows:
        value = row.fields.get(condition.name)
        try:
            chosen += [row] * condition.holds(value)
            fits = fits or value is not None
        except ValueError:
            chosen += [row] * (condition.sign == "!=")
            refused = refused if value is None else value
    if refused is not None and not fits:
        kind = "a number" if isinstance(refused, int | float) else f"{refused!r}, no number"
        raise UserError(
            f"--where: {condition.name} is {kind}; it cannot be {condition.sign} {condition.text!r}"
        )
    return chosen


def full_name(name: str, rows: Sequence[Row]) -> str:
    """The whole name of a field that is given by it, or by a last part that no other one has.

    Fields of the config go before final numbers. Raises UserError, with the nearest name.
    """
    settings, numbers = (
        list(dict.fromkeys(n for row in rows for n in getattr(row, kind)))
        for kind in ("settings", "numbers")
    )
    known = [*settings, *numbers, "path", "state", "hardware", "wall_seconds"]
    if name in known or not rows:
        return name
    for names in (settings, numbers):
        ends = [n for n in names if n.rpartition(".")[2] == name]
        if len(ends) == 1:
            return ends[0]
        if ends:
            raise UserError(f"{name} can be {', '.join(ends)}; give the whole name")
    raise UserError(f"no run has a field {name!r}{_hint(name, known)}")


def _hint(name: str, known: Sequence[str]) -> str:
    """The nearest whole name or last part; nothing where none is near."""
    by_part = {n.rpartition(".")[2]: n for n in reversed(known)} | {n: n for n in known}
    hint = nearest(name, by_part)
    return hint if hint.startswith("; did you mean") else "; --csv shows all fields"


def ordered(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows by one field, numbers before texts in natural order; where it is missing, last."""

    def key(row: Row) -> tuple[int, Any]:
        value = row.fields.get(name)
        if value is None or value != value:
            return 2, 0
        is_number = isinstance(value, int | float)
        return (0, value) if is_number else (1, natural(str(value)))

    return sorted(rows, key=key)
