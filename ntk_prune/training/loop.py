"""The one training loop. It reads and writes nothing; between epochs the caller does."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntk_prune.progress import Progress
from ntk_prune.training import parallel
from ntk_prune.training.feed import Feed
from ntk_prune.training.parallel import Distributed
from ntk_prune.training.state import TrainState
from ntk_prune.training.step import Metrics


class Epoch(NamedTuple):
    """What one epoch, or the part of it that was left, came to.

    ``state`` is given up to the next epoch: copy what must outlive it. Of several processes each
    has it on a device of its own. ``epoch`` = steps made so far / steps per epoch. ``loss`` and
    ``accuracy`` are means over this epoch's steps (``[R]`` for ``R`` replicates), ``learning_rate``
    is that of the last step; the first ``images_per_second`` includes compiling.
    """

    step: int
    epoch: float
    state: TrainState
    loss: Any
    accuracy: Any
    learning_rate: float
    images_per_second: float


def fit(
    state: TrainState,
    train_step: Distributed,
    feed: Feed,
    num_steps: int,
    learning_rate: optax.Schedule,
) -> Iterator[Epoch]:
    """Train from ``state.step`` to ``num_steps``, yielding after every epoch.

    Args:
        state: From ``create`` or a checkpoint; left intact.
        train_step: From ``distribute``.
        feed: The batches.
        num_steps: Where to stop, in the middle of an epoch if need be.
        learning_rate: The optimiser's schedule, for the record.

    Raises FloatingPointError naming the step at which the loss was not finite.
    """
    state = train_step.replicate(jax.tree.map(jnp.array, state))  # copied: it will be donated
    step = int(np.ravel(state.step)[0])
    with _progress_bar(step, num_steps) as bar:
        while step < num_steps:
            stop = min(num_steps, (step // feed.steps_per_epoch + 1) * feed.steps_per_epoch)
            start = time.perf_counter()
            watch = _Watch(step, bar)
            images = 0
            for batches in feed.batches(step, stop):
                images += batches.index.size
                state, metrics = train_step.step(state, batches)
                watch.add(metrics)
            loss, accuracy = watch.finish()
            seconds = time.perf_counter() - start
            step = stop
            yield Epoch(
                step=step,
                epoch=step / feed.steps_per_epoch,
                state=parallel.local(state),
                loss=loss,
                accuracy=accuracy,
                learning_rate=np.asarray(learning_rate(step - 1)).item(),
                images_per_second=images / seconds,
            )


def _progress_bar(step: int, num_steps: int) -> Progress:
    """Counts steps; drawn by the first process only."""
    shown = None if jax.process_index() == 0 else False
    return Progress(num_steps, "training", "step", shown, initial=step, leave=False)


class _Watch:
    """Collects metrics one dispatch late, so that looking at them never stalls the device."""

    def __init__(self, step: int, bar: Progress):
        self.step, self.bar = step, bar
        self.waiting: Metrics | None = None
        self.losses: list[Any] = []
        self.accuracies: list[Any] = []

    def add(self, metrics: Metrics) -> None:
        previous, self.waiting = self.waiting, metrics
        if previous is not None:
            self._read(previous)

    def finish(self) -> tuple[Any, Any]:
        """Mean loss and accuracy over all steps, floats or one each replicate."""
        if self.waiting is not None:
            self._read(self.waiting)
        return np.mean(self.losses, 0).tolist(), np.mean(self.accuracies, 0).tolist()

    def _read(self, metrics: Metrics) -> None:
        losses, accuracies = np.asarray(metrics["loss"]), np.asarray(metrics["accuracy"])
        for i, loss in enumerate(losses):
            if not np.isfinite(loss).all():
                raise FloatingPointError(
                    f"the training loss is {loss} at step {self.step + len(self.losses) + i}; "
                    "lower the learning rate or lengthen the warm-up"
                )
        self.losses += losses.tolist()
        self.accuracies += accuracies.tolist()
        loss, accuracy = np.mean(losses[-1]), np.mean(accuracies[-1])
        self.bar.set_postfix(loss=loss, accuracy=accuracy, refresh=False)
        self.bar.update(len(losses))
