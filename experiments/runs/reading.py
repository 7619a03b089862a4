"""Reading run directories. A run directory is a directory that holds ``config.json``."""

import dataclasses
import functools
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.errors import UserError
from experiments.runs.walking import run_paths
from ntk_prune.checkpoint import load_tree

Frame = Any
"""A pandas DataFrame or Series; pandas' own annotations reject ordinary indexing."""

_RECORD = ("step", "epoch", "name", "value")
_PRUNING = ("kept", "total", "layers", "collapsed")
_LAYER = ("name", "shape", "kept", "total")
_SPECTRUM = ("eigenvalues_dense", "eigenvalues_pruned")


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What one run directory holds; ``done`` is None while the run is unfinished.

    All but the config and the final numbers is read when it is asked for: UserError names a damaged
    file and line then.
    """

    path: Path
    config: dict[str, Any]
    done: dict[str, Any] | None

    @functools.cached_property
    def metrics(self) -> Frame:
        """What was logged, with the columns step, epoch, name, value."""
        records = _read_records(self.path / "metrics.jsonl", self.finished)
        frame = pd.DataFrame(records, columns=pd.Index(_RECORD), dtype=object)
        return frame.astype({"step": int, "epoch": float, "value": float})

    @functools.cached_property
    def pruning(self) -> dict[str, Any] | None:
        """What every layer keeps; None where nothing was pruned."""
        return _read_pruning(self.path / "pruning.json")

    @property
    def spectrum(self) -> dict[str, np.ndarray] | None:
        """``eigenvalues_dense [m]`` and ``eigenvalues_pruned [m]``, read again at every use."""
        return _read_spectrum(self.path / "spectrum.safetensors")

    @property
    def has_spectrum(self) -> bool:
        """Whether there is a spectrum, which is not read for that."""
        return (self.path / "spectrum.safetensors").exists()

    @functools.cached_property
    def env(self) -> dict[str, Any]:
        """Where and with what the run was made."""
        return read_json(self.path / "env.json") or {}

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The config by flat dotted names."""
        return flatten(self.config)

    @property
    def seed(self) -> int:
        """The seed of its config, by which replicates of one experiment differ."""
        return self.config.get("seed", 0)

    @property
    def protocol(self) -> str:
        """The name of its workflow; empty where the config has none."""
        return self.config.get("protocol", "")

    @property
    def hardware(self) -> str:
        """Its devices: ``4 x NVIDIA H100``, or the processor with its cores."""
        return hardware_of(self.env)

    @property
    def finished(self) -> bool:
        """Whether the run wrote ``DONE``."""
        return self.done is not None

    def last(self, name: str) -> float:
        """The last value of a metric or timing; nan if it was never written."""
        return self._ends.get(name, float("nan"))

    def logged(self, name: str) -> bool:
        """Whether there is a value of this metric or timing."""
        return name in self._ends

    @functools.cached_property
    def epochs(self) -> float:
        """The last epoch of the metrics; nan where there are none."""
        return float(self.metrics["epoch"].max())

    @functools.cached_property
    def _ends(self) -> dict[str, float]:
        timing = _read_records(self.path / "timing.jsonl", self.finished)
        metrics = zip(self.metrics["name"], self.metrics["value"], strict=True)
        return {**dict(metrics), **{r["name"]: float(r["value"]) for r in timing}}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as dotted names; lists become tuples so that values can be compared.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': (2,)}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = tuple(value) if isinstance(value, list) else value
    return flat


def hardware_of(env: Mapping[str, Any]) -> str:
    """The devices of an ``env.json``."""
    devices = env.get("devices") or []
    if env.get("backend", "cpu") == "cpu":
        return f"{env.get('processor') or 'CPU'}, {env.get('cpu_count', '?')} cores"
    return ", ".join(f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices))


def find(directories: Iterable[Path]) -> list[Run]:
    """All runs at or below ``directories``, each once, in the natural order of their paths.

    Raises UserError when a directory does not exist, holds no run, or a config is damaged.
    """
    return [read(path) for path in run_paths(directories)]


def read(path: Path) -> Run:
    """The run in ``path``; only its config must exist. UserError names a damaged file and line."""
    config = read_json(path / "config.json") or {}
    return Run(path=path, config=config, done=read_json(path / "DONE"))


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None


def _parse(text: str, file: Path, line: int = 1) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        at = f"{file}, line {line + error.lineno - 1}, column {error.colno}"
        raise UserError(f"{at}: broken JSON ({error.msg}); mend or remove the run") from None
    if not isinstance(value, dict):
        raise UserError(f"{file}, line {line}: expected a JSON object, got {text.strip()[:40]}")
    return value


def _require(value: dict, keys: tuple[str, ...], where: str) -> None:
    missing = [key for key in keys if key not in value]
    if missing:
        raise UserError(f"{where}: {', '.join(missing)} missing; is this file of another version?")


def read_json(file: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is no file. UserError if it is damaged."""
    return _parse(_read_text(file), file) if file.exists() else None


def _read_records(file: Path, finished: bool) -> list[dict[str, Any]]:
    """The records of a JSONL file; the torn last line of a run that was cut off is dropped."""
    lines = _read_text(file).splitlines(keepends=True) if file.exists() else []
    if lines and not finished and not lines[-1].endswith("\n"):
        lines.pop()
    records = []
    for number, line in enumerate(lines, start=1):
        record = _parse(line, file, number)
        _require(record, _RECORD, f"{file}, line {number}")
        # One text for all records of a name: thousands of runs repeat a dozen names.
        records.append(record | {"name": sys.intern(str(record["name"]))})
    return records


def _read_pruning(file: Path) -> dict[str, Any] | None:
    pruning = read_json(file)
    if pruning is not None:
        _require(pruning, _PRUNING, str(file))
        for layer in pruning["layers"]:
            _require(layer, _LAYER, f"{file}, layers")
    return pruning


def _read_spectrum(file: Path) -> dict[str, np.ndarray] | None:
    if not file.exists():
        return None
    try:
        spectrum = load_tree(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}); mend or remove the run") from None
    _require(spectrum, _SPECTRUM, str(file))
    return spectrum
