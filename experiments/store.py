"""A run directory: what a run was, what it measured, and where it can go on.

Every file is written whole or not at all. ``DONE`` comes last.
"""

import contextlib
import copy
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from experiments.config import Experiment, to_dict
from experiments.config.differences import contains, differences
from experiments.environment import environment, now, this_process
from experiments.errors import UserError
from experiments.trackers import Tracker, following
from ntk_prune import checkpoint

FIRST_FILES = (".lock", ".stage", "env.json")
"""What a run that was killed before its ``config.json`` can leave, beside partial files."""

RESULTS = (".json", ".jsonl", ".safetensors")
"""Endings of the files that later work reads; ``finish`` records their sizes."""

NOT_RESULTS = ("env.json", "files.json", "timing.jsonl")

IN_USE = "is in use by another process"
"""What the line says of a directory that another process holds."""


class Store:
    """The files of one run; ``with store.claimed():`` takes the directory for this process.

    What is logged as metrics goes to the tracker as well, which runs while it is claimed.
    """

    def __init__(self, path: Path, config: Experiment, tracker: Tracker | None = None):
        self.path = self._root = Path(path)
        self._tracker = tracker
        self._untold: list[tuple[int, dict[str, float]]] = []  # shared with the parts of the run
        self.config = to_dict(config)
        self._grows = config.grows

    @property
    def done(self) -> dict[str, Any] | None:
        """The final numbers, or None while unfinished. UserError if it is another run, or a file
        of a finished one is missing or damaged."""
        has_grown = self._check_config()
        return self._read_object("DONE") if not has_grown and self.is_finished() else None

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Own the run. UserError if another process does, or it holds another config."""
        self._check_config()
        with self.locked(".lock"):
            has_grown = self._check_config()
            if not self.has("config.json"):
                self.write_json("env.json", environment())
                self.write_json("config.json", self.config)
            else:
                self._record_resumption()
            if has_grown:
                (self.path / "DONE").unlink(missing_ok=True)
                self.write_json("config.json", self.config)
            with following(self._tracker, self.config, self.path):
                yield

    def _record_resumption(self) -> None:
        """Add this process to those in ``env.json`` that went on with the run."""
        env = self._read_object("env.json") if self.has("env.json") else {}
        if this_process() not in (env.get("started"), *env.get("resumed", ())):
            self.write_json(
                "env.json", {**env, "resumed": [*env.get("resumed", ()), this_process()]}
            )

    @contextlib.contextmanager
    def locked(self, name: str, *, wait: bool = False) -> Iterator[None]:
        """Hold the lock ``name`` of the directory, which is made where it does not exist.

        While another process holds it, ``wait``, or raise UserError.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / name, "w")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}") from None
        with lock:
            self._lock(lock, wait)
            checkpoint.remove_partial_files(self.path, until="config.json")
            yield

    def _lock(self, file: IO[str], wait: bool) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise UserError(f"{self.path} {IN_USE}; wait for it") from None
            raise UserError(
                f"{file.name} cannot be locked: {error.strerror}; choose a --workdir on a file "
                "system with locks (flock)"
            ) from None

    def _check_config(self) -> bool:
        """Whether the config is that of the directory with more in the fields that may grow.

        UserError for any other difference.
        """
        if not self.has("config.json"):
            self._check_empty()
            return False
        stored = self._read_object("config.json")
        grown = [name for name in self._grows if contains(self.config, stored, name)]
        changes = differences(stored, self.config)
        others = [c for c in changes if c.partition(": ")[0] not in grown]
        # Of another protocol everything differs, which would say nothing.
        others = [c for c in others if c.startswith("protocol: ")] or others
        if others:
            raise UserError(
                f"{self.path} holds another config ({'; '.join(others)}); "
                "choose another --workdir or remove the directory"
            )
        return bool(changes)

    def _check_empty(self) -> None:
        """UserError if the directory, which has no config, holds what no new run has."""
        if not self.path.is_dir():
            return
        for path in sorted(self.path.iterdir()):
            if path.name not in FIRST_FILES and not checkpoint.is_partial(path):
                raise UserError(
                    f"{self.path} has no config.json but holds {path.name}: it cannot be told of "
                    "which config that is; choose another --workdir or remove the directory"
                )

    def is_finished(self) -> bool:
        """Whether there is a ``DONE``. UserError if a file that was there with it is missing or of
        another size."""
        if not self.has("DONE"):
            return False
        sizes = self._read_object("files.json") if self.has("files.json") else {}  # of older runs
        for name, size in sizes.items():
            path = self.path / name
            if not path.is_file() or path.stat().st_size != size:
                what = "of another size" if path.is_file() else "missing"
                raise UserError(
                    f"{self.path} is finished, but {path} is {what}; restore it, or remove the "
                    "directory to do the work anew"
                )
        return True

    def within(self, name: str) -> "Store":
        """The files of a part of this run, in a subdirectory of it."""
        part = copy.copy(self)
        part.path = self.path / name
        return part

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        return (self.path / name).exists()

    def read_json(self, name: str) -> Any:
        """A JSON file of the run. UserError if it is missing or damaged."""
        try:
            return json.loads((self.path / name).read_text("utf-8"))
        except OSError as error:
            raise UserError(
                f"cannot read {self.path / name}: {error.strerror}; restore it or remove the run"
            ) from None
        except ValueError as error:  # not JSON, or not UTF-8
            raise UserError(f"{self.path / name} is not JSON ({error}); remove the run") from None

    def _read_object(self, name: str) -> dict[str, Any]:
        """A JSON file of the run that holds an object. UserError if it is damaged."""
        value = self.read_json(name)
        if not isinstance(value, dict):
            raise UserError(f"{self.path / name} is damaged: it holds no object; remove the run")
        return value

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically."""
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"
        checkpoint.write_atomically(self.path / name, text.encode())

    def save(self, name: str, tree: Any) -> None:
        """Write a tree of arrays as safetensors."""
        checkpoint.save_tree(self.path / f"{name}.safetensors", tree)

    def load(self, name: str) -> Any:
        """Read a tree of arrays. UserError if it is missing or damaged."""
        try:
            return checkpoint.load_tree(self.path / f"{name}.safetensors")
        except (OSError, ValueError) as error:
            raise UserError(f"{error}; restore it, or remove {self.path}") from None

    def log(self, step: int, epoch: float, values: dict[str, float], *, file="metrics", **extra):
        """Append one line per value to ``metrics.jsonl`` (or ``timing.jsonl``)."""
        lines = [
            json.dumps({"step": step, "epoch": epoch, "name": k, "value": float(v), **extra})
            for k, v in values.items()
        ]
        with open(self.path / f"{file}.jsonl", "a") as stream:
            stream.write("".join(f"{line}\n" for line in lines))
        if self._tracker is not None and file == "metrics":
            prefix = self.path.relative_to(self._root).as_posix()
            prefix = "" if prefix == "." else f"{prefix}/"
            self._untold.append((step, {f"{prefix}{k}": float(v) for k, v in values.items()}))

    def records(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``. UserError if one is damaged."""
        return [record for _, _, record in self._lines("metrics.jsonl")]

    def _lines(self, name: str) -> list[tuple[str, int, dict[str, Any]]]:
        """The whole lines of a log with their steps and values; a torn last one is none."""
        file = self.path / name
        if not file.exists():
            return []
        try:
            lines = [x for x in file.read_text("utf-8").splitlines(keepends=True) if x[-1] == "\n"]
            records = [json.loads(line) for line in lines]
            for record in records:
                _check_record(record)
            return [(line, r["step"], r) for line, r in zip(lines, records, strict=True)]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} has a damaged line ({error}); remove {self.path}") from None

    def logged(self, name: str) -> list[tuple[int, float]]:
        """``(step, value)`` of every logged value of that name."""
        return [(r["step"], r["value"]) for r in self.records() if r["name"] == name]

    def rewind_log(self, step: int) -> None:
        """Drop the lines after ``step``, which a resumed run writes again, and a torn last line."""
        for file in ("metrics.jsonl", "timing.jsonl"):
            if self.has(file):
                kept = [line for line, s, _ in self._lines(file) if s <= step]
                checkpoint.write_atomically(self.path / file, "".join(kept).encode())

    def drop_log(self) -> None:
        """Remove ``metrics.jsonl``."""
        (self.path / "metrics.jsonl").unlink(missing_ok=True)

    def sync_logs(self) -> None:
        """Have the logs on the disk: a checkpoint never outlives the lines before it. The tracker
        learns of them now, as a killed run logs what comes after its last checkpoint again."""
        for file in ("metrics.jsonl", "timing.jsonl"):
            if self.has(file):
                with open(self.path / file, "rb") as stream:
                    os.fsync(stream.fileno())
        while self._tracker is not None and self._untold:
            self._tracker.log(*self._untold.pop(0))

    def finish(self, numbers: dict[str, Any]) -> None:
        """Write the sizes of the results, those of parts too, as ``files.json``, then ``DONE``: the
        run is complete.

        ``env.json``, where there is one, tells when and by which process.
        """
        self.sync_logs()
        sizes = {
            path.relative_to(self.path).as_posix(): path.stat().st_size
            for path in sorted(_files_of_run(self.path))
            if (path.suffix in RESULTS or path.name == "DONE") and path.name not in NOT_RESULTS
        }
        self.write_json("files.json", sizes)
        if self.has("env.json"):
            finished = {**this_process(), "time": now()}
            self.write_json("env.json", {**self.read_json("env.json"), "finished": finished})
        self.write_json("DONE", numbers)


def _files_of_run(directory: Path) -> Iterator[Path]:
    """The files in a directory and below it, but those of other runs."""
    for path in directory.iterdir():
        if path.is_dir() and not (path / "config.json").exists():
            yield from _files_of_run(path)
        elif path.is_file():
            yield path


def _check_record(record: Any) -> None:
    """ValueError, KeyError or TypeError unless a line of a log is a value of some name and step."""
    if not isinstance(record["step"], int) or not isinstance(record["name"], str):
        raise ValueError(f"step {record['step']!r}, name {record['name']!r}")
    float(record["value"])
