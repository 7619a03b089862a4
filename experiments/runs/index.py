"""One row per run: its config, its final numbers, its hardware; fast the second time by an index.

The index lies beside the runs, in ``.results_index.json`` of the directory that was asked for. It
is never the truth: a run whose files have changed since is read again, a run that is gone has no
row, and an index that is damaged or of another version is built anew.
"""

import contextlib
import dataclasses
import datetime
import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.runs.reading import Frame, flatten, hardware_of, read_json
from experiments.runs.walking import Identity, runs_below
from ntk_prune.checkpoint import write_atomically

INDEX = ".results_index.json"
VERSION = 1
SOURCES = ("config.json", "DONE", "env.json")
"""The files that a row is made from."""

Entry = dict[str, Any]
"""A row in the index: what it says, and under ``files`` of which files that was read."""

_ENTRY = {"files", "config", "done", "hardware", "wall_seconds"}


@dataclasses.dataclass(frozen=True)
class Row:
    """A run: flat dotted names of its config (``settings``) and of its ``DONE`` (``numbers``).

    ``wall_seconds`` is None where it is not recorded: of unfinished or resumed runs.
    """

    path: Path
    state: str
    settings: dict[str, Any]
    numbers: dict[str, Any]
    hardware: str
    wall_seconds: float | None

    @functools.cached_property
    def fields(self) -> dict[str, Any]:
        """Everything by name, in the order of the columns."""
        about = {"hardware": self.hardware, "wall_seconds": self.wall_seconds}
        return {"path": str(self.path), "state": self.state, **self.settings, **self.numbers,
                **about}  # fmt: skip


def rows(directories: Iterable[Path]) -> list[Row]:
    """The rows of all runs at or below ``directories``, each once, in the natural order of paths.

    Updates the index where the directory can be written and is no run itself. Raises UserError when
    a directory does not exist or holds no run, or a file of a run is damaged.
    """
    by_identity: dict[Identity, Row] = {}
    for directory in directories:
        for identity, row in _rows_below(directory).items():
            by_identity.setdefault(identity, row)
    return list(by_identity.values())


def frame(*directories: str | Path) -> Frame:
    """A pandas DataFrame with a line per run at or below ``directories``; see ``rows``.

    Its columns are the dotted names of configs and final numbers, and path, state, hardware and
    wall_seconds. A field that a run does not have is missing in its line.
    """
    return pd.DataFrame([row.fields for row in rows(map(Path, directories))])


def _rows_below(directory: Path) -> dict[Identity, Row]:
    """The rows of the runs below, out of the index where it still holds."""
    known, entries, below = _load(directory / INDEX), {}, {}
    for identity, path in runs_below(directory).items():
        name = path.relative_to(directory).as_posix()
        files = [_signature(path / source) for source in SOURCES]
        if files[0] is not None:  # or it was removed meanwhile
            holds = name in known and known[name]["files"] == files
            entries[name] = known[name] if holds else _read(path, files)
            below[identity] = _row(path, entries[name])
    if entries != known and "." not in entries:
        text = json.dumps({"version": VERSION, "runs": entries})
        with contextlib.suppress(OSError):
            write_atomically(directory / INDEX, text.encode())
    return below


def _signature(file: Path) -> list[int] | None:
    """What changes when a file is written anew; None where there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def _load(file: Path) -> dict[str, Entry]:
    """The entries of an index; none where it is missing, damaged or of another version."""
    try:
        index = json.loads(file.read_bytes())
        entries = index["runs"] if index["version"] == VERSION else {}
        return {name: entry for name, entry in entries.items() if _is_whole(entry)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_whole(entry: Entry) -> bool:
    return entry.keys() == _ENTRY and isinstance(entry["config"], dict)


def _read(path: Path, files: list[list[int] | None]) -> Entry:
    """The entry of a run. ``files`` were looked at before: what changes since is read next time."""
    env = read_json(path / "env.json") or {}
    return {
        "files": files,
        "config": read_json(path / "config.json") or {},
        "done": read_json(path / "DONE"),
        "hardware": hardware_of(env),
        "wall_seconds": _wall_seconds(env),
    }


def _wall_seconds(env: Mapping[str, Any]) -> float | None:
    """From the start to the end of a run that one process has made."""
    if env.get("resumed") or "finished" not in env:
        return None
    began, ended = (datetime.datetime.fromisoformat(env[key]["time"])
                    for key in ("started", "finished"))  # fmt: skip
    return (ended - began).total_seconds()


def _row(path: Path, entry: Entry) -> Row:
    settings, done = flatten(entry["config"]), entry["done"]
    numbers = flatten(done or {})
    state = "unfinished" if done is None else "finished"
    return Row(path, state, settings, _apart(numbers, settings), entry["hardware"],
               entry["wall_seconds"])  # fmt: skip


def _apart(numbers: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """``numbers``; one that is called like a field, or like the last part of one, as ``final.``."""
    taken = {part for name in settings for part in (name, name.rpartition(".")[2])}
    return {f"final.{n}" if n in taken else n: value for n, value in numbers.items()}
