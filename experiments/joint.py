"""Networks that train as one program: their states as one, and the checkpoints of each alone."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from ntk_prune.checkpoint import Checkpoints
from ntk_prune.training import TrainState


def together(states: Sequence[TrainState]) -> TrainState:
    """The states with one more axis in front; one alone as it is."""
    if len(states) == 1:
        return states[0]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def apart(state: TrainState, number: int) -> Iterator[TrainState]:
    """The ``number`` states that ``together`` put together, one after another."""
    if number == 1:
        yield state
    else:
        yield from (_take(state, r) for r in range(number))


@jax.jit
def _take(state: TrainState, r: int) -> TrainState:
    return jax.tree.map(lambda leaf: leaf[r], state)


class OwnCheckpoints:
    """Checkpoints of networks that train as one program, each in the directory that it has alone.

    So every one of them can go on by itself, or with others that have a checkpoint of its step.
    """

    def __init__(self, directories: Sequence[Path]):
        self._stack = contextlib.ExitStack()
        self._all = [self._stack.enter_context(Checkpoints(d)) for d in directories]

    def save(self, step: int, state: TrainState) -> None:
        """Write the checkpoint of every network."""
        for checkpoints, own in zip(self._all, apart(state, len(self._all)), strict=True):
            checkpoints.save(step, own)

    def latest_step(self) -> int | None:
        """The newest step of which all have a checkpoint, or None."""
        common = set.intersection(*(set(checkpoints.steps()) for checkpoints in self._all))
        return max(common, default=None)

    def restore(self, target: TrainState) -> TrainState:
        """The newest state that all have whole. A kill between two of their checkpoints, or a
        damaged one, leaves some with a newer one, which is removed."""
        targets = list(apart(target, len(self._all)))
        states = [c.restore(t) for c, t in zip(self._all, targets, strict=True)]
        step = min(int(state.step) for state in states)
        for r, checkpoints in enumerate(self._all):
            if int(states[r].step) > step:
                checkpoints.remove_after(step)
                states[r] = checkpoints.restore(targets[r], step)
        return together(states)

    def __enter__(self) -> "OwnCheckpoints":
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()
