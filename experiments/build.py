"""The only place where names in a config become objects.

Whatever can be missing or wrong fails here, before a run writes anything.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.config import (
    DataConfig,
    ModelConfig,
    PruneAndTrain,
    PruneConfig,
    StrategyConfig,
    TrainConfig,
    parse_duration,
)
from experiments.errors import user_errors
from experiments.options import choice
from ntk_prune import data, gates, masks, training
from ntk_prune.interop import pretrained
from ntk_prune.losses import LOSSES
from ntk_prune.models import MODELS
from ntk_prune.pruners import PRUNERS, controls
from ntk_prune.streams import stream
from ntk_prune.types import Array, Batch, Device, Key, Model, Params, Pruner, State

AUGMENTATIONS: dict[str, data.Augment] = {
    "none": data.identity,
    "crop": data.pad_crop_flip(flip=False),
    "crop_flip": data.pad_crop_flip(),
    "resized_crop_flip": data.resized_crop_flip(),
}

Data = data.Dataset | data.Stream
Seeds = tuple[int, ...]


class Setup(NamedTuple):
    """Everything a protocol that prunes and trains works with."""

    dataset: Data
    model: Model
    example: Array  # one image of zeros as the network takes it
    pruner: Pruner | None
    batches: Batch | None  # what the pruner sees; None where nothing is pruned
    training: "Training"


class Training(NamedTuple):
    """The batches, the optimiser, and the step spread over devices."""

    feed: training.Feed
    optimizer: optax.GradientTransformation
    learning_rate: optax.Schedule
    num_steps: int
    step: training.Distributed
    evaluate: Callable[[Params, State], dict[str, float]]


def setup(config: PruneAndTrain) -> Setup:
    """Load the data and make every object. UserError says what is missing or does not fit."""
    with user_errors("data"):
        dataset = load_data(config.data)
    shape = example(config.data, dataset)
    with user_errors("model"):
        model = make_model(config.model, dataset, shape)
    with user_errors("prune"):
        pruner = make_pruner(config.prune)
        check_paths(pruner, model, shape)
    with user_errors("train"):
        made = make_training(config.train, config.data, config.seed, dataset, model)
    batches = score_batches(config.prune, config.data, config.seed, dataset) if pruner else None
    return Setup(dataset, model, shape, pruner, batches, made)


def load_data(config: DataConfig) -> Data:
    """The data set of a config."""
    if config.name in data.STREAMS:
        chosen = {"image_size": config.image_size, "augment": config.augment}
        own = {"image_size": None, "augment": "none"}  # stand for what the set has by itself
        options = {name: value for name, value in chosen.items() if value != own[name]}
        return data.STREAMS[config.name](config.data_dir, num_workers=config.num_workers, **options)
    return data.load(
        config.name,
        data_dir=config.data_dir,
        image_size=config.image_size,
        channels=config.channels,
        cache_dir=config.cache_dir,
    )


def load_images(config: DataConfig) -> data.Dataset:
    """The data set of a config that has to lie in memory."""
    dataset = load_data(config)
    if not isinstance(dataset, data.Dataset):
        raise ValueError(f"{config.name} is a stream; this experiment takes images in memory")
    return dataset


def make_model(config: ModelConfig, dataset: Data, image: Array) -> Model:
    """The network with as many outputs as the data has classes, tried on one image's shape."""
    model = MODELS[config.name](**vars(config.options), num_classes=dataset.num_classes)
    jax.eval_shape(model.init, jax.random.key(0), image)
    return model


def example(config: DataConfig, dataset: Data) -> Array:
    """One image of zeros as the network takes it, for its shape."""
    height, width, channels = dataset.image_shape
    if config.input_size is not None:
        height = width = config.input_size
    return jnp.zeros((1, height, width, channels))


def inputs(config: DataConfig, dataset: Data) -> Callable[[Array], Array]:
    """Raw images as the network takes them: resized, normalised."""
    normalise = data.normalise(dataset.mean, dataset.std)
    if config.input_size is None:
        return normalise
    resize = data.resize_batch(config.input_size)
    return lambda x: normalise(resize(x))


def initialise(config: ModelConfig, key: Key, model: Model, image: Array) -> tuple[Params, State]:
    """The weights to prune: drawn, and replaced by pretrained ones if the config names a file.

    With one seed, every method gets the same.
    """
    params, state = jax.jit(model.init)(key, image)
    if config.weights is None:
        return params, state
    with user_errors("model.weights"):
        return pretrained.load(config.weights, config.weights_source, params, state)


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


def check_paths(pruner: Pruner | None, model: Model, image: Array) -> None:
    """ValueError for a criterion that follows paths and a network that has none."""
    if pruner is not None and pruner.follows_paths:
        params, state = jax.eval_shape(model.init, jax.random.key(0), image)
        jax.eval_shape(
            lambda p, s: model.apply(p, s, image, train=False, activation=gates.Record())[0],
            params,
            state,
        )


def score_batches(
    config: PruneConfig | StrategyConfig, images: DataConfig, seed: int, dataset: Data
) -> Batch:
    """The normalised training images, not augmented, that the criterion sees."""
    with user_errors("prune"):
        return data.score_batches(
            stream(seed, "score"),
            dataset.num_train if dataset.y_train is None else dataset.y_train,
            dataset.examples,
            config.num_examples,
            config.batch_size,
            inputs(images, dataset),
            balanced=config.balanced,
        )


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
    num_steps = steps(config.duration, steps_per_epoch)
    learning_rate = make_learning_rate(config, steps_per_epoch)
    optimizer = make_optimizer(config, learning_rate)
    loss, to_inputs = LOSSES[config.loss], inputs(images, dataset)
    step = training.make_train_step(
        model, optimizer, preparation(images, dataset), loss, config.batch_norm == "batch"
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


def preparation(images: DataConfig, dataset: Data) -> training.Prepare:
    """Augment (streams have done so on the host), resize, normalise."""
    to_inputs = inputs(images, dataset)
    augment = data.identity
    if not isinstance(dataset, data.Stream):
        choice("data.augment", images.augment, AUGMENTATIONS)
        augment = AUGMENTATIONS[images.augment]

    def prepare(key: Key, step: Array, index: Array, x: Array) -> Array:
        return to_inputs(data.augment_batch(augment, key, step, index, x))

    return prepare


def choose_devices(number: int | None) -> list[Device]:
    """The first ``number`` devices, or all. ValueError if there are fewer."""
    devices = jax.devices()
    if number is not None and number > len(devices):
        raise ValueError(f"num_devices is {number}, but there are {len(devices)}")
    return devices[:number]
