"""The only place where names in a config become objects.

Whatever can be missing or wrong fails here, before a run writes anything.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.config import (
    DataConfig,
    ModelConfig,
    PruneAndTrain,
    PruneConfig,
    TrainConfig,
    parse_duration,
)
from experiments.errors import user_errors
from ntk_prune import data, masks, training
from ntk_prune.models import MODELS
from ntk_prune.pruners import PRUNERS, controls
from ntk_prune.streams import stream
from ntk_prune.types import Array, Batch, Device, Key, Model, Params, Pruner, State

AUGMENTATIONS: dict[str, data.Augment] = {
    "none": data.identity,
    "crop": data.pad_crop_flip(flip=False),
    "crop_flip": data.pad_crop_flip(),
}


class Setup(NamedTuple):
    """Everything a protocol that prunes and trains works with."""

    dataset: data.Dataset
    model: Model
    pruner: Pruner | None
    batches: Batch | None  # what the pruner sees; None where nothing is pruned
    training: "Training"


class Training(NamedTuple):
    """The training images and labels, the optimiser, and the step spread over devices."""

    examples: tuple[Array, Array]
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule
    num_steps: int
    step: training.Distributed
    order: Callable[[int], Array]
    evaluate: Callable[[Params, State], dict[str, float]]


def setup(config: PruneAndTrain) -> Setup:
    """Load the data and make every object. UserError says what is missing or does not fit."""
    with user_errors("data"):
        dataset = load_data(config.data)
    with user_errors("model"):
        model = make_model(config.model, dataset)
    with user_errors("prune"):
        pruner = make_pruner(config.prune)
    with user_errors("train"):
        made = make_training(config.train, config.data.augment, config.seed, dataset, model)
    batches = score_batches(config.prune, config.seed, dataset) if pruner else None
    return Setup(dataset, model, pruner, batches, made)


def load_data(config: DataConfig) -> data.Dataset:
    """The data set of a config."""
    return data.load(
        config.name,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        cache_dir=config.cache_dir,
    )


def make_model(config: ModelConfig, dataset: data.Dataset) -> Model:
    """The network with as many outputs as the data has classes, tried on one image's shape."""
    model = MODELS[config.name](**vars(config.options), num_classes=dataset.num_classes)
    jax.eval_shape(model.init, jax.random.key(0), example(dataset))
    return model


def example(dataset: data.Dataset) -> Array:
    """One image of zeros, for its shape."""
    return jnp.zeros((1, *dataset.x_train.shape[1:]))


def layers_by_depth(model: Model, x: Array) -> list[str]:
    """The names of the prunable layers in the order in which the network makes them.

    jax sorts the keys of every tree that leaves it, so the order is read while ``init`` is traced.
    """
    names: list[str] = []

    def walk(tree: Params, prefix: str) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}/")
            else:
                names.append(prefix + key)

    def trace(key: Key, x: Array) -> Params:
        params, _ = model.init(key, x)
        walk(params, "")
        return params

    prunable = dict(masks.leaves(jax.eval_shape(trace, jax.random.key(0), x)))
    return [name for name in names if name in prunable]


def make_pruner(config: PruneConfig) -> Pruner | None:
    """The pruner of a config, inverted if it says so; None for the dense network."""
    if config.name == "none":
        return None
    pruner = PRUNERS[config.name](**vars(config.options))
    return controls.invert(pruner) if config.control == "invert" else pruner


def score_batches(config: PruneConfig, seed: int, dataset: data.Dataset) -> Batch:
    """The normalised training images, not augmented, that the criterion sees."""
    with user_errors("prune"):
        return data.score_batches(
            stream(seed, "score"),
            dataset.x_train,
            dataset.y_train,
            config.num_examples,
            config.batch_size,
            data.normalise(dataset.mean, dataset.std),
            balanced=config.balanced,
        )


def steps(duration: str, steps_per_epoch: int) -> int:
    """``"2ep"`` or ``"500it"`` in training steps."""
    number, unit = parse_duration(duration)
    return round(number * (steps_per_epoch if unit == "ep" else 1))


def make_training(
    config: TrainConfig, augment: str, seed: int, dataset: data.Dataset, model: Model
) -> Training:
    """The training of a config: ValueError if the batch does not fit the data or the devices."""
    n = len(dataset.x_train)
    order = functools.partial(
        data.epoch_order, stream(seed, "data"), n=n, batch_size=config.batch_size
    )
    steps_per_epoch = len(order(0))
    num_steps = steps(config.duration, steps_per_epoch)
    learning_rate = training.learning_rate(
        config.learning_rate,
        num_steps,
        config.schedule,
        drops=tuple(steps(d, steps_per_epoch) for d in config.drops if config.schedule == "step"),
        factor=config.drop_factor,
        warmup=steps(config.warmup, steps_per_epoch),
    )
    optimizer = make_optimizer(config, learning_rate)
    normalise = data.normalise(dataset.mean, dataset.std)
    prepare = _preparation(AUGMENTATIONS[augment], stream(seed, "augment"), normalise)
    devices = choose_devices(config.num_devices)
    training.check_batch_size(config.batch_size, len(devices))
    return Training(
        examples=(dataset.x_train, dataset.y_train),
        optimizer=optimizer,
        learning_rate=learning_rate,
        num_steps=num_steps,
        step=training.distribute(
            training.make_train_step(model, optimizer, prepare),
            config.parallel,
            devices,
            config.steps_per_call,
        ),
        order=order,
        evaluate=training.make_evaluate(
            model, dataset.x_test, dataset.y_test, normalise, config.eval_batch_size, devices
        ),
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
    return training.OPTIMISERS[config.optimizer](
        learning_rate, weight_decay=config.weight_decay, **extra
    )


def _preparation(augment: data.Augment, key: Key, normalise: Callable[[Array], Array]):
    def prepare(step: Array, index: Array, x: Array) -> Array:
        return normalise(data.augment_batch(augment, key, step, index, x))

    return prepare


def choose_devices(number: int | None) -> list[Device]:
    """The first ``number`` devices, or all. ValueError if there are fewer."""
    devices = jax.devices()
    if number is not None and number > len(devices):
        raise ValueError(f"num_devices is {number}, but there are {len(devices)}")
    return devices[:number]
