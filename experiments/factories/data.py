"""The images of a config, as they lie and as a network or a criterion takes them."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, Protocol

import jax.numpy as jnp
import numpy as np

from experiments.config import DataConfig
from experiments.config.options import choice
from experiments.errors import UserError, expanded, user_errors
from ntk_prune import data, training
from ntk_prune.rng import stream
from ntk_prune.types import Array, Batch, Key

AUGMENTATIONS: dict[str, data.Augment] = {
    "none": data.identity,
    "crop": data.pad_crop_flip(flip=False),
    "crop_flip": data.pad_crop_flip(),
    "resized_crop_flip": data.resized_crop_flip(),
}

Data = data.Dataset | data.Stream
Split = Literal["train", "test"]


def load_data(config: DataConfig) -> Data:
    """The data set of a config. ValueError for options that its kind of set does not have."""
    data_dir, cache_dir = (
        path if path is None else str(expanded(path, name))
        for name, path in (("data.data_dir", config.data_dir), ("data.cache_dir", config.cache_dir))
    )
    if config.name in data.STREAMS:
        for field in ("channels", "cache_dir"):
            if (value := getattr(config, field)) is not None:
                raise ValueError(
                    f"{field}={value}: {config.name} is streamed, in colour, uncached: drop it"
                )
        return data.open_stream(
            config.name,
            data_dir=data_dir,
            image_size=config.image_size,
            augment=config.augment,
            num_workers=config.num_workers,
        )
    return data.load(
        config.name,
        data_dir=data_dir,
        image_size=config.image_size,
        channels=config.channels,
        cache_dir=cache_dir,
    )


def load_images(config: DataConfig) -> data.Dataset:
    """The data set of a config that has to lie in memory."""
    dataset = load_data(config)
    if not isinstance(dataset, data.Dataset):
        raise ValueError(f"{config.name} is a stream; this experiment takes images in memory")
    return dataset


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


class Examples(Protocol):
    """A section of a config that says which images are looked at."""

    section: ClassVar[str]

    @property
    def num_examples(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def balanced(self) -> bool: ...


def check_images(field: str, number: int, dataset: Data) -> None:
    """UserError for more images than there are to train on."""
    if number > dataset.num_train:
        raise UserError(
            f"{field}: expected at most {dataset.num_train}, the training images, got {number}"
        )


def score_batches(config: Examples, images: DataConfig, seed: int, dataset: Data) -> Batch:
    """The normalised training images, not augmented, that the criterion sees."""
    with user_errors(config.section):
        return data.score_batches(
            stream(seed, "score"),
            dataset.num_train if dataset.y_train is None else dataset.y_train,
            dataset.examples,
            config.num_examples,
            config.batch_size,
            inputs(images, dataset),
            balanced=config.balanced,
        )


def in_order(
    dataset: Data, split: Split, batch_size: int, num_images: int | None = None
) -> Iterator[tuple[Array, Array]]:
    """The first ``num_images`` (None: all) images and labels of a split as they lie.

    Not augmented and not yet inputs; the last batch has what is left.
    """
    if split == "train":
        total, batches = dataset.num_train, _train_batches(dataset, batch_size)
    elif isinstance(dataset, data.Stream):
        total, batches = dataset.num_test, dataset.test_batches(batch_size)
    else:
        total, batches = len(dataset.x_test), _test_batches(dataset, batch_size)
    n = min(num_images or total, total)
    for start, (x, y, *_) in zip(range(0, n, batch_size), batches, strict=False):
        yield x[: n - start], y[: n - start]


def _train_batches(dataset: Data, batch_size: int) -> Iterator[tuple[Array, Array]]:
    for start in range(0, dataset.num_train, batch_size):
        yield dataset.examples(np.arange(start, min(start + batch_size, dataset.num_train)))


def _test_batches(dataset: data.Dataset, batch_size: int) -> Iterator[tuple[Array, Array]]:
    for start in range(0, len(dataset.x_test), batch_size):
        rows = slice(start, start + batch_size)
        yield dataset.x_test[rows], dataset.y_test[rows]
