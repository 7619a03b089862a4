"""Where the batches of a training come from: arrays on the devices, or a stream from the host."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ntk_prune.training.parallel import Distributed
from ntk_prune.training.step import Examples
from ntk_prune.types import Array, Key


class Feed(NamedTuple):
    """``batches(start, stop)`` gives the examples of the steps ``start..stop-1``, which lie in one
    epoch, as many at a time as a dispatch takes. They depend on the step alone, so a restored
    training goes on with the very examples it would have seen.
    """

    steps_per_epoch: int
    batch_size: int
    batches: Callable[[int, int], Iterator[Examples]]


def in_memory(
    distributed: Distributed, x: Array, y: Array, order: Callable[[int], Array], key: Key
) -> Feed:
    """Raw examples ``x [n, ...]``, ``y [n, ...]`` lie on the devices once and are gathered there.

    Args:
        distributed: From ``distribute``.
        x: Examples.
        y: Labels.
        order: ``order(epoch) -> int [steps per epoch, batch size]``, rows of ``x``; with ``R``
            replicates ``[steps per epoch, R, batch size]``. An incomplete last batch is filled up
            with -1, and is then a smaller batch, whose step compiles anew.
        key: Of the augmentation; ``[R]`` with replicates.
    """
    steps_per_epoch, *_, batch_size = order(0).shape
    x, y = distributed.replicate((x, y))

    def batches(start: int, stop: int) -> Iterator[Examples]:
        epoch, first = divmod(start, steps_per_epoch)
        rows = np.asarray(order(epoch))[first : first + stop - start]
        rows, rest = (rows[:-1], rows[-1:]) if rows[-1].min() < 0 else (rows, rows[:0])
        for chunk in range(0, len(rows), distributed.steps_per_call):
            yield distributed.take(x, y, rows[chunk : chunk + distributed.steps_per_call], key)
        if len(rest):
            yield distributed.take(x, y, rest[..., : (rest >= 0).sum(-1).max()], key)

    return Feed(steps_per_epoch, batch_size, batches)


def streamed(
    distributed: Distributed,
    read: Callable[[int], Iterator[tuple[np.ndarray, np.ndarray]]],
    steps_per_epoch: int,
    batch_size: int,
    key: Key,
) -> Feed:
    """Batches that ``read(start)`` yields on the host, one a step from the step ``start`` on."""
    source: Iterator[tuple[np.ndarray, np.ndarray]] = iter(())
    position = -1

    def batches(start: int, stop: int) -> Iterator[Examples]:
        nonlocal source, position
        if start != position:  # the first epoch after a restart; later ones go on reading
            source, position = read(start), start
        while position < stop:
            size = min(distributed.steps_per_call, stop - position)
            x, y = (np.stack(a) for a in zip(*(next(source) for _ in range(size)), strict=True))
            position += size
            yield distributed.put(x, y, key)

    return Feed(steps_per_epoch, batch_size, batches)
