"""A run directory: what a run was, what it measured, and where it can go on.

Every file is written whole or not at all. ``DONE`` comes last.
"""

import contextlib
import copy
import datetime
import fcntl
import functools
import importlib.metadata
import json
import operator
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from experiments.config import Experiment, to_dict
from experiments.errors import UserError
from experiments.trackers import Tracker
from ntk_prune import checkpoint

_PACKAGES = ("ntk_prune", "jax", "jaxlib", "flax", "optax", "numpy", "neural-tangents", "matfree")

_JOB_VARIABLES = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "PBS_JOBID",
    "LSB_JOBID",
    "JOB_ID",
)


class Store:
    """The files of one run; ``with store.claimed():`` takes the directory for this process.

    What is logged as metrics goes to the tracker as well.
    """

    def __init__(self, path: Path, config: Experiment, tracker: Tracker | None = None):
        self.path = self._root = Path(path)
        self._tracker = tracker
        self.config = to_dict(config)
        self._grows = config.grows

    @property
    def done(self) -> dict[str, Any] | None:
        """The final numbers, or None while unfinished. UserError if it is another run."""
        has_grown = self._check_config()
        return self.read_json("DONE") if self.has("DONE") and not has_grown else None

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
            yield

    def _record_resumption(self) -> None:
        """Add this process to those in ``env.json`` that went on with the run."""
        env = self.read_json("env.json") if self.has("env.json") else {}
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
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"{self.path} is in use by another process; wait for it") from None
            for leftover in self.path.rglob(".*"):  # of an atomic write that was killed
                if leftover.suffix[1:].isdecimal():
                    leftover.unlink(missing_ok=True)
            yield

    def _check_config(self) -> bool:
        """Whether the config is that of the directory with more in the fields that may grow.

        UserError for any other difference.
        """
        if not self.has("config.json"):
            return False
        stored = self.read_json("config.json")
        grown = [name for name in self._grows if _contains(self.config, stored, name)]
        changes = differences(stored, self.config)
        others = [c for c in changes if c.partition(": ")[0] not in grown]
        # Of another protocol everything differs, which would say nothing.
        others = [c for c in others if c.startswith("protocol: ")] or others
        if others:
            raise UserError(
                f"{self.path} holds another config ({'; '.join(others)}); "
                "choose another --workdir or remove it"
            )
        return bool(changes)

    def within(self, name: str) -> "Store":
        """The files of a part of this run, in a subdirectory of it."""
        part = copy.copy(self)
        part.path = self.path / name
        return part

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        return (self.path / name).exists()

    def read_json(self, name: str) -> Any:
        """A JSON file of the run. UserError if it is damaged."""
        try:
            return json.loads((self.path / name).read_text())
        except json.JSONDecodeError as error:
            raise UserError(f"{self.path / name} is not JSON ({error}); remove the run") from None

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically."""
        text = json.dumps(value, indent=1, allow_nan=False) + "\n"
        checkpoint.write_atomically(self.path / name, text.encode())

    def save(self, name: str, tree: Any) -> None:
        """Write a tree of arrays as safetensors."""
        checkpoint.save_tree(self.path / f"{name}.safetensors", tree)

    def load(self, name: str) -> Any:
        """Read a tree of arrays."""
        return checkpoint.load_tree(self.path / f"{name}.safetensors")

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
            self._tracker.log(step, {f"{prefix}{k}": float(v) for k, v in values.items()})

    def records(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``."""
        file = self.path / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    def logged(self, name: str) -> list[tuple[int, float]]:
        """``(step, value)`` of every logged value of that name."""
        return [(r["step"], r["value"]) for r in self.records() if r["name"] == name]

    def rewind_log(self, step: int) -> None:
        """Drop the lines after ``step``, which a resumed run writes again, and a torn last line."""
        for file in ("metrics.jsonl", "timing.jsonl"):
            if self.has(file):
                whole = (self.path / file).read_text().splitlines(keepends=True)
                kept = [x for x in whole if x.endswith("\n") and json.loads(x)["step"] <= step]
                checkpoint.write_atomically(self.path / file, "".join(kept).encode())

    def drop_log(self) -> None:
        """Remove ``metrics.jsonl``."""
        (self.path / "metrics.jsonl").unlink(missing_ok=True)

    def finish(self, numbers: dict[str, Any]) -> None:
        """Write ``DONE``: the run is complete."""
        self.write_json("DONE", numbers)


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


def _contains(new: dict[str, Any], old: dict[str, Any], name: str) -> bool:
    """Whether the dotted field is in both, a list with all of the old one, or no smaller number."""
    try:
        a, b = (_field(plain, name) for plain in (old, new))
        return set(b) >= set(a) if isinstance(b, list) else b >= a
    except (KeyError, TypeError):
        return False


def _field(plain: dict[str, Any], name: str) -> Any:
    return functools.reduce(operator.getitem, name.split("."), plain)


@functools.cache
def this_process() -> dict[str, Any]:
    """Which process this is: host, number, first use, and the job of a cluster."""
    jobs = {name: os.environ[name] for name in _JOB_VARIABLES if name in os.environ}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "time": now, "job": jobs}


def environment() -> dict[str, Any]:
    """Where and with what a run was made."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    devices = jax.devices()
    return {
        "command": sys.argv,
        "started": this_process(),
        "processes": jax.process_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "backend": jax.default_backend(),
        "devices": [d.device_kind for d in devices],
        "versions": versions,
        "commit": _commit(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    """The git commit of this checkout, with ``+`` when it has uncommitted changes."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
