"""Data sets as arrays in memory: embedded digits, image folders, TensorFlow Datasets.

A set that is missing is an error that says how to get it; nothing is ever put in its place.
"""

import functools
import os
from collections.abc import Callable

from ntk_prune.data import digits, folder, tfds
from ntk_prune.data.augment import Augment, augment_batch, identity, normalise, pad_crop_flip
from ntk_prune.data.batches import epoch_order, score_batches
from ntk_prune.data.dataset import Dataset


def _load_digits(data_dir=None, *, image_size=None, channels=None, cache_dir=None) -> Dataset:
    """The digits come with scikit-learn: no folder is read and none is written."""
    del data_dir, cache_dir
    return digits.load(image_size=image_size, channels=channels)


DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": _load_digits,
    "folder": folder.load,
    "cifar10": functools.partial(tfds.load, "cifar10"),
    "cifar100": functools.partial(tfds.load, "cifar100"),
    "mnist": functools.partial(tfds.load, "mnist"),
    "svhn_cropped": functools.partial(tfds.load, "svhn_cropped"),
}


def load(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """The set ``name`` of ``DATASETS`` as ``uint8 [N, H, W, C]`` images and labels.

    Args:
      name: a key of ``DATASETS``.
      data_dir: the image folder, or the root of TensorFlow Datasets; the digits need none.
      image_size: side in pixels to which images are resized; None keeps their own.
      channels: 1 (grey) or 3; None keeps the set's own (an image folder: 3).
      cache_dir: where decoded images are stored; None is beside the data if that is writable.

    Raises ValueError for an unknown name or bad values, FileNotFoundError for missing data, with
    the command or layout that mends it.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; choose one of {', '.join(DATASETS)}")
    return DATASETS[name](data_dir, image_size=image_size, channels=channels, cache_dir=cache_dir)


__all__ = [
    "DATASETS",
    "Augment",
    "Dataset",
    "augment_batch",
    "epoch_order",
    "identity",
    "load",
    "normalise",
    "pad_crop_flip",
    "score_batches",
]
