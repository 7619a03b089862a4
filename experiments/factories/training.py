"""The training of a config: batches, optimiser, step, evaluation."""

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.config import DataConfig, TrainConfig, parse_duration
from experiments.factories.data import Data, inputs, preparation
from ntk_prune import data, training
from ntk_prune.losses import LOSSES
from ntk_prune.rng import stream
from ntk_prune.types import Device, Model

Seeds = tuple[int, ...]


class Training(NamedTuple):
    """The batches, the optimiser, and the step spread over devices."""

    feed: training.Feed
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule
    num_steps: int
    step: training.Distributed
    evaluate: training.Evaluate


def steps(duration: str, steps_per_epoch: int) -> int:
    """``"2ep"`` or ``"500it"`` in training steps."""
    number, unit = parse_duration(duration)
    return round(number * (steps_per_epoch if unit == "ep" else 1))


def make_training(
    config: TrainConfig, images: DataConfig, seed: int | Seeds, dataset: Data, model: Model
) -> Training:
    """The training of a config: of one network, or of one for each of several seeds at once.

    ValueError if the batch does not fit the data or the devices.
    """
    devices = choose_devices(config.num_devices)
    training.check_batch_size(config.batch_size, len(devices))
    steps_per_epoch = dataset.num_train // config.batch_size
    if steps_per_epoch == 0:
        raise ValueError(
            f"batch_size {config.batch_size} is more than the {dataset.num_train} training images"
        )
    num_steps = steps(config.duration, steps_per_epoch)
    learning_rate = make_learning_rate(config, steps_per_epoch)
    optimizer = make_optimizer(config, learning_rate)
    loss, to_inputs = LOSSES[config.loss], inputs(images, dataset)
    step = training.make_train_step(
        model,
        optimizer,
        preparation(images, dataset),
        loss,
        config.batch_norm == "batch",
        config.sam_rho,
        config.sam_adaptive,
    )
    replicates = None if isinstance(seed, int) else len(seed)
    how = training.distribute(step, config.parallel, devices, config.steps_per_call, replicates)
    return Training(
        feed=make_feed(config, seed, dataset, how),
        optimizer=optimizer,
        learning_rate=learning_rate,
        num_steps=num_steps,
        step=how,
        evaluate=training.make_evaluate(
            model, whole_test_set(config, dataset, devices), to_inputs, devices, loss
        ),
    )


def make_feed(
    config: TrainConfig, seed: int | Seeds, dataset: Data, how: training.Distributed
) -> training.Feed:
    """The training batches of a seed, or of several, side by side."""
    seeds = (seed,) if isinstance(seed, int) else seed

    def stacked(each: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
        return each[0] if isinstance(seed, int) else np.stack(each, axis)

    keys = jnp.stack([stream(s, "augment") for s in seeds])
    key = keys[0] if isinstance(seed, int) else keys
    if isinstance(dataset, data.Stream):

        def read(start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            readers = [dataset.train_batches(s, config.batch_size, start) for s in seeds]
            for batches in zip(*readers, strict=True):
                x, y = zip(*batches, strict=True)
                yield stacked(x), stacked(y)

        steps_per_epoch = dataset.num_train // config.batch_size
        return training.streamed(how, read, steps_per_epoch, config.batch_size, key)

    def order(epoch: int) -> np.ndarray:
        n, size = dataset.num_train, config.batch_size
        return stacked(
            [np.asarray(data.epoch_order(stream(s, "data"), epoch, n, size)) for s in seeds], axis=1
        )

    return training.in_memory(how, dataset.x_train, dataset.y_train, order, key)


def whole_test_set(config: TrainConfig, dataset: Data, devices: list[Device]) -> training.WholeSet:
    """Every test image once."""
    if isinstance(dataset, data.Stream):
        size = -(-config.eval_batch_size // len(devices)) * len(devices)
        return functools.partial(dataset.test_batches, size)
    return training.every_example(dataset.x_test, dataset.y_test, config.eval_batch_size, devices)


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


def choose_devices(number: int | None) -> list[Device]:
    """The first ``number`` devices, or all. ValueError if there are fewer."""
    devices = jax.devices()
    if number is not None and number > len(devices):
        raise ValueError(f"num_devices is {number}, but there are {len(devices)}")
    return devices[:number]
