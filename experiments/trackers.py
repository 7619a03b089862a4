"""Copies of what a run logs, for programs that draw it while it runs.

A run is complete without a tracker, and a tracker is no part of what a run is: it stands on the
command line (``--tracker tensorboard``, or ``--tracker package.module:factory`` for another), not
in the config.
"""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from experiments.errors import UserError


class Tracker(Protocol):
    """Where a run is followed. ``start`` comes first, ``finish`` last, also after an error."""

    def start(self, config: dict[str, Any], path: Path) -> None:
        """The run: its config as JSON values, its directory."""

    def log(self, step: int, values: dict[str, float]) -> None:
        """Numbers by name, such as ``replicate_0/test/accuracy``, just before the checkpoint that
        holds them: a run that was killed logs them once."""

    def finish(self) -> None:
        """The run is complete, interrupted or failed."""


class TensorBoard:
    """Event files in ``tensorboard/`` of the run directory: ``tensorboard --logdir runs``."""

    def __init__(self):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UserError("--tracker: tensorboard needs pip install tensorboardX") from None
        self._make = SummaryWriter

    def start(self, config: dict[str, Any], path: Path) -> None:
        """Open a new event file; those of earlier processes of the run stay."""
        self._writer = self._make(str(path / "tensorboard"))
        self._writer.add_text("config", f"    {config}")

    def log(self, step: int, values: dict[str, float]) -> None:
        """One scalar for every value."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Write what is left."""
        self._writer.close()


def make(name: str | None) -> Tracker | None:
    """The tracker of ``--tracker``; None for ``none``. UserError for an unknown name."""
    if name in (None, "none"):
        return None
    if name == "tensorboard":
        return TensorBoard()
    module, _, factory = name.partition(":")
    try:
        return getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"--tracker: {name!r} is none of none, tensorboard and package.module:factory ({error})"
        ) from None


@contextlib.contextmanager
def following(tracker: Tracker | None, config: dict[str, Any], path: Path) -> Iterator[None]:
    """Start the tracker, and finish it however the block ends."""
    if tracker is None:
        yield
        return
    tracker.start(config, path)
    try:
        yield
    finally:
        tracker.finish()
