"""Two resolved configs as plain values: what differs, and what has only grown."""

import functools
import operator
from typing import Any


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Readable differences of two nested dicts: ``prune.density: 0.1 there, 0.2 now``."""
    changes = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            changes += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            changes.append(f"{prefix}{key}: {a!r} there, {b!r} now")
    return changes


def contains(new: dict[str, Any], old: dict[str, Any], name: str) -> bool:
    """Whether the dotted field is in both, a list with all of the old one, or no smaller number."""
    try:
        a, b = (_field(plain, name) for plain in (old, new))
        return set(b) >= set(a) if isinstance(b, list) else b >= a
    except (KeyError, TypeError):
        return False


def _field(plain: dict[str, Any], name: str) -> Any:
    return functools.reduce(operator.getitem, name.split("."), plain)
