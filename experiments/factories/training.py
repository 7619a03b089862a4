"""The training of a config: batches, learning rate, optimiser, step, test set."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.config import DataConfig, TrainConfig, parse_duration
from experiments.factories.data import Data, Split, in_order, inputs, preparation
from ntk_prune import data, training
from ntk_prune.losses import LOSSES
from ntk_prune.rng import stream
from ntk_prune.types import Device, Model

Seeds = tuple[int, ...]

MOST_STEPS = 2**31
"""Steps are counted in 32 bits with a sign."""


def steps(duration: str, steps_per_epoch: int) -> int:
    """``"2ep"`` or ``"500it"`` in training steps. OverflowError for more than a counter holds."""
    number, unit = parse_duration(duration)
    count = round(number * (steps_per_epoch if unit == "ep" else 1))
    if count >= MOST_STEPS:
        raise OverflowError(f"duration {duration} is {count} steps; expected fewer than 2^31")
    return count


def count_steps_per_epoch(config: TrainConfig, dataset: Data) -> int:
    """Batches in the training set, with the incomplete last one if it is kept.

    ValueError if there is not one that is full, or for a stream that should keep the last one.
    """
    if not config.drop_last and isinstance(dataset, data.Stream):
        raise ValueError(f"drop_last=False: {dataset.name} is streamed, in full batches")
    steps_per_epoch, rest = divmod(dataset.num_train, config.batch_size)
    if steps_per_epoch == 0:
        raise ValueError(
            f"batch_size {config.batch_size} is more than the {dataset.num_train} training images"
        )
    return steps_per_epoch + (rest > 0 and not config.drop_last)


def choose_devices(config: TrainConfig, dataset: Data) -> list[Device]:
    """The first ``num_devices`` devices, or all.

    ValueError if there are fewer, if a batch, the last one too, does not divide among them, or if
    pmap should serve several processes.
    """
    if config.parallel == "pmap" and jax.process_count() > 1:
        raise ValueError("parallel='pmap' serves one process; use parallel='jit' on several hosts")
    devices = jax.devices()
    if config.num_devices is not None and config.num_devices > len(devices):
        raise ValueError(f"num_devices is {config.num_devices}, but there are {len(devices)}")
    devices = devices[: config.num_devices]
    training.check_batch_size(config.batch_size, len(devices))
    rest = dataset.num_train % config.batch_size
    if not config.drop_last and rest % len(devices):
        raise ValueError(
            f"drop_last=False: the last {rest} images of an epoch do not divide among "
            f"{len(devices)} devices; use fewer devices or drop them"
        )
    return devices


def make_step(
    config: TrainConfig,
    images: DataConfig,
    dataset: Data,
    model: Model,
    optimizer: optax.GradientTransformation,
) -> training.TrainStep:
    """One training step of one network. ValueError for an augmentation that does not exist."""
    return training.make_train_step(
        model,
        optimizer,
        preparation(images, dataset),
        LOSSES[config.loss],
        "batch" if config.batch_norm == "batch" else "running",
        config.sam_rho,
        config.sam_adaptive,
    )


def make_evaluate(
    config: TrainConfig,
    images: DataConfig,
    dataset: Data,
    model: Model,
    devices: list[Device],
    split: Split,
) -> training.Evaluate:
    """``evaluate(params, state) -> {"loss", "accuracy", ...}`` on the whole of a split."""
    return training.make_evaluate(
        model,
        whole_set(config, dataset, devices, split),
        inputs(images, dataset),
        devices,
        LOSSES[config.loss],
    )


def make_feed(
    config: TrainConfig, seed: int | Seeds, dataset: Data, step: training.Distributed
) -> training.Feed:
    """The training batches of a seed; of several side by side, where equal seeds have equal ones.

    Args:
        config: The size of a batch.
        seed: One for an unbatched step, or as many as the step trains networks.
        dataset: The images.
        step: The step that takes the batches.
    """
    seeds = (seed,) if isinstance(seed, int) else seed
    distinct = tuple(dict.fromkeys(seeds))  # what networks share is read once

    def stacked(each: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
        if isinstance(seed, int):
            return each[0]
        return np.stack([each[distinct.index(s)] for s in seeds], axis)

    keys = jnp.stack([stream(s, "augment") for s in seeds])
    key = keys[0] if isinstance(seed, int) else keys
    if isinstance(dataset, data.Stream):

        def read(start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            readers = [dataset.train_batches(s, config.batch_size, start) for s in distinct]
            for batches in zip(*readers, strict=True):
                x, y = zip(*batches, strict=True)
                yield stacked(x), stacked(y)

        per_epoch = count_steps_per_epoch(config, dataset)
        return training.streamed(step, read, per_epoch, config.batch_size, key)

    def order(epoch: int) -> np.ndarray:
        n, size, drop = dataset.num_train, config.batch_size, config.drop_last
        orders = [data.epoch_order(stream(s, "data"), epoch, n, size, drop) for s in distinct]
        return stacked([np.asarray(rows) for rows in orders], axis=1)

    return training.in_memory(step, dataset.x_train, dataset.y_train, order, key)


def whole_set(
    config: TrainConfig, dataset: Data, devices: list[Device], split: Split
) -> training.WholeSet:
    """Every image of a split once, not augmented."""
    if isinstance(dataset, data.Stream):
        size = -(-config.eval_batch_size // len(devices)) * len(devices)
        if split == "test":
            return functools.partial(dataset.test_batches, size)
        return functools.partial(_filled_batches, dataset, size)
    x, y = (
        (dataset.x_test, dataset.y_test) if split == "test" else (dataset.x_train, dataset.y_train)
    )
    return training.every_example(x, y, config.eval_batch_size, devices)


def _filled_batches(
    dataset: data.Stream, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All training images; what fills the last batch has weight 0."""
    for x, y in in_order(dataset, "train", size):
        rows = np.arange(size)
        filled = np.minimum(rows, len(x) - 1)
        yield np.asarray(x)[filled], np.asarray(y)[filled], (rows < len(x)).astype(np.float32)


def make_learning_rate(config: TrainConfig, steps_per_epoch: int) -> optax.Schedule:
    """The learning rate of a config, in steps."""
    drops = config.drops if config.schedule == "step" else ()
    return training.learning_rate(
        config.learning_rate,
        steps(config.duration, steps_per_epoch),
        config.schedule,
        drops=tuple(steps(drop, steps_per_epoch) for drop in drops),
        factor=config.drop_factor,
        warmup=steps(config.warmup, steps_per_epoch),
    )


def make_optimizer(
    config: TrainConfig, learning_rate: optax.Schedule
) -> optax.GradientTransformation:
    """The update rule of a config."""
    extra = (
        {"momentum": config.momentum, "nesterov": config.nesterov}
        if config.optimizer == "sgd"
        else {}
    )
    optimizer = training.OPTIMISERS[config.optimizer](
        learning_rate, weight_decay=config.weight_decay, **extra
    )
    return training.scaled(optimizer, config.rates()) if config.module_rates else optimizer
