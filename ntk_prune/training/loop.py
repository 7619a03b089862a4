"""The one training loop. It reads and writes nothing; between epochs the caller does."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from ntk_prune.training.parallel import Distributed
from ntk_prune.training.state import TrainState
from ntk_prune.training.step import Metrics
from ntk_prune.types import Array


class Epoch(NamedTuple):
    """What one epoch, or the part of it that was left, came to.

    ``state`` is given up to the next epoch: copy what must outlive it. ``epoch`` = steps made so
    far / steps per epoch. ``loss`` and ``accuracy`` are means over this epoch's steps,
    ``learning_rate`` is that of the last step; the first ``images_per_second`` includes compiling.
    """

    step: int
    epoch: float
    state: TrainState
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float


def fit(
    state: TrainState,
    train_step: Distributed,
    x: Array,
    y: Array,
    order: Callable[[int], Array],
    num_steps: int,
    learning_rate: optax.Schedule,
) -> Iterator[Epoch]:
    """Train from ``state.step`` to ``num_steps``, yielding after every epoch.

    The data lie on the devices once and are gathered there. Batches depend on ``order`` alone, so
    a restored state goes on with the very examples it would have seen.

    Args:
        state: From ``create`` or a checkpoint; left intact.
        train_step: From ``distribute``.
        x: Raw examples ``[n, ...]``.
        y: Labels ``[n]``.
        order: ``order(epoch) -> int [steps per epoch, batch size]``, rows of ``x``.
        num_steps: Where to stop, in the middle of an epoch if need be.
        learning_rate: The optimiser's schedule, for the record.

    Raises FloatingPointError naming the step at which the loss was not finite.
    """
    steps_per_epoch, batch_size = order(0).shape
    state = train_step.replicate(jax.tree.map(jnp.array, state))  # copied: it will be donated
    x, y = train_step.replicate((x, y))
    step = int(state.step)
    with _progress_bar(step, num_steps, batch_size) as bar:
        while step < num_steps:
            epoch, done = divmod(step, steps_per_epoch)
            rows = np.asarray(order(epoch))[done : done + num_steps - step]
            start = time.perf_counter()
            watch = _Watch(step, bar)
            for chunk in _chunks(rows, train_step.steps_per_call):
                state, metrics = train_step.step(state, train_step.take(x, y, chunk))
                watch.add(metrics)
            loss, accuracy = watch.finish()
            seconds = time.perf_counter() - start
            step += len(rows)
            yield Epoch(
                step=step,
                epoch=step / steps_per_epoch,
                state=state,
                loss=loss,
                accuracy=accuracy,
                learning_rate=np.asarray(learning_rate(step - 1)).item(),
                images_per_second=rows.size / seconds,
            )


def _chunks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _progress_bar(step: int, num_steps: int, batch_size: int) -> tqdm:
    """Counts images; silent when stderr is not a terminal and on all hosts but the first."""
    return tqdm(
        total=num_steps,
        initial=step,
        unit="img",
        unit_scale=batch_size,
        disable=None if jax.process_index() == 0 else True,
        desc="training",
    )


class _Watch:
    """Collects metrics one dispatch late, so that looking at them never stalls the device."""

    def __init__(self, step: int, bar: tqdm):
        self.step, self.bar = step, bar
        self.waiting: Metrics | None = None
        self.losses: list[float] = []
        self.accuracies: list[float] = []

    def add(self, metrics: Metrics) -> None:
        previous, self.waiting = self.waiting, metrics
        if previous is not None:
            self._read(previous)

    def finish(self) -> tuple[float, float]:
        """Mean loss and accuracy over all steps."""
        if self.waiting is not None:
            self._read(self.waiting)
        return float(np.mean(self.losses)), float(np.mean(self.accuracies))

    def _read(self, metrics: Metrics) -> None:
        losses, accuracies = np.asarray(metrics["loss"]), np.asarray(metrics["accuracy"])
        for i, loss in enumerate(losses):
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"the training loss is {loss} at step {self.step + len(self.losses) + i}; "
                    "lower the learning rate or lengthen the warm-up"
                )
        self.losses += losses.tolist()
        self.accuracies += accuracies.tolist()
        self.bar.set_postfix(loss=self.losses[-1], accuracy=self.accuracies[-1], refresh=False)
        self.bar.update(len(losses))
