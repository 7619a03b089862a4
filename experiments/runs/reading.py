"""Reading run directories. A run directory is a directory that holds ``config.json``."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.errors import UserError
from ntk_prune.checkpoint import load_tree

Frame = Any
"""A pandas DataFrame or Series; pandas' own annotations reject ordinary indexing."""

_RECORD = ("step", "epoch", "name", "value")
_PRUNING = ("kept", "total", "layers", "collapsed")
_LAYER = ("name", "shape", "kept", "total")
_SPECTRUM = ("eigenvalues_dense", "eigenvalues_pruned")


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What one run directory holds.

    ``metrics`` and ``timing`` have the columns step, epoch, name, value; ``done`` is None while the
    run is unfinished; ``spectrum`` holds ``eigenvalues_dense [m]`` and ``eigenvalues_pruned [m]``.
    """

    path: Path
    config: dict[str, Any]
    metrics: Frame
    timing: Frame
    pruning: dict[str, Any] | None
    spectrum: dict[str, np.ndarray] | None
    env: dict[str, Any]
    done: dict[str, Any] | None

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
        devices = self.env.get("devices") or []
        if self.env.get("backend", "cpu") == "cpu":
            return f"{self.env.get('processor') or 'CPU'}, {self.env.get('cpu_count', '?')} cores"
        return ", ".join(f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices))

    @property
    def finished(self) -> bool:
        """Whether the run wrote ``DONE``."""
        return self.done is not None

    def last(self, name: str) -> float:
        """The last value of a metric or timing; nan if it was never written."""
        records = pd.concat([self.metrics, self.timing])
        values = records.loc[records["name"] == name, "value"]
        return float(values.iloc[-1]) if len(values) else float("nan")


def find(directories: Iterable[Path]) -> list[Run]:
    """All runs at or below ``directories``, each once, in the order of their paths.

    Raises UserError when a directory does not exist, holds no run, or a file of a run is damaged.
    """
    paths: dict[Path, Path] = {}
    for directory in directories:
        if not directory.is_dir():
            raise UserError(
                f"{directory} is not a directory; give run directories or their parents"
            )
        below = sorted(_run_paths(directory))
        if not below:
            raise UserError(f"no runs in {directory}: no config.json in it or below it")
        paths.update({path.resolve(): path for path in below})
    return [read(path) for path in paths.values()]


def _run_paths(directory: Path) -> Iterator[Path]:
    for root, below, files in os.walk(directory):
        below[:] = [name for name in below if name != "checkpoints" and not name.startswith(".")]
        if "config.json" in files:
            yield Path(root)


def read(path: Path) -> Run:
    """The run in ``path``; only its config must exist. UserError names a damaged file and line."""
    done = read_json(path / "DONE")
    return Run(
        path=path,
        config=read_json(path / "config.json") or {},
        metrics=_read_records(path / "metrics.jsonl", done is not None),
        timing=_read_records(path / "timing.jsonl", done is not None),
        pruning=_read_pruning(path / "pruning.json"),
        spectrum=_read_spectrum(path / "spectrum.safetensors"),
        env=read_json(path / "env.json") or {},
        done=done,
    )


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
    return _parse(_read_text(file), file) if file.exists() else None


def _read_records(file: Path, finished: bool) -> Frame:
    """The records of a JSONL file; the torn last line of a run that was cut off is dropped."""
    lines = _read_text(file).splitlines(keepends=True) if file.exists() else []
    if lines and not finished and not lines[-1].endswith("\n"):
        lines.pop()
    records = []
    for number, line in enumerate(lines, start=1):
        records.append(_parse(line, file, number))
        _require(records[-1], _RECORD, f"{file}, line {number}")
    frame = pd.DataFrame(records, columns=pd.Index(_RECORD))
    return frame.astype({"step": int, "epoch": float, "name": str, "value": float})


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
