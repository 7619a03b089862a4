"""Cells whose networks train as one program: those that differ in seed and pruning alone."""

from collections.abc import Iterable, Iterator

from experiments.driver import CHECKPOINTS
from experiments.launch.cells import Cell
from experiments.protocols import PROTOCOLS
from experiments.protocols.protocol import shared_fields


def companions(first: Cell, others: Iterable[Cell]) -> Iterator[Cell]:
    """The cells that can go on with ``first`` as one program.

    They are of a workflow that has such a program, equal in all ``shared_fields``, and begun
    together: none has a checkpoint, or all have one of the same step.
    """
    steps = _steps(first)
    if PROTOCOLS[first.config.protocol].run_together is None or steps is None:
        return
    shared = shared_fields(first.config)
    for cell in others:
        own = _steps(cell) if shared_fields(cell.config) == shared else None
        if own is not None and (steps & own or not steps | own):
            steps &= own
            yield cell


def _steps(cell: Cell) -> set[str] | None:
    """The steps of its checkpoints; None where the training is over."""
    if (cell.workdir / "params_final.safetensors").exists():
        return None
    return {path.name for path in (cell.workdir / CHECKPOINTS).glob("*") if path.name.isdecimal()}
