"""Data sets: arrays in memory that are augmented on the device, and streams from the host.

A set that is missing is an error that says how to get it; nothing is ever put in its place.
"""

import functools
import os
from collections.abc import Callable

from ntk_prune.data import digits, folder, imagenet, segmentation, tfds, tiny_imagenet
from ntk_prune.data.augment import (
    Augment,
    augment_batch,
    identity,
    normalise,
    pad_crop_flip,
    resize_batch,
    resized_crop_flip,
)
from ntk_prune.data.batches import epoch_order, score_batches
from ntk_prune.data.dataset import Dataset
from ntk_prune.data.stream import Stream, check_reader


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
    "tiny_imagenet": tiny_imagenet.load,
}

STREAMS: dict[str, Callable[..., Stream]] = {
    "imagenet": functools.partial(imagenet.load, "imagenet"),
    "imagenet_folder": functools.partial(imagenet.load, "imagenet_folder"),
    "voc2012": segmentation.voc2012,
    "digits_segmentation": segmentation.digits_segmentation,
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


def open_stream(
    name: str,
    *,
    data_dir: str | os.PathLike | None = None,
    image_size: int | None = None,
    augment: str | None = "none",
    num_workers: int = 0,
) -> Stream:
    """The set ``name`` of ``STREAMS``; nothing is decoded before it is asked for.

    Args:
      name: a key of ``STREAMS``.
      data_dir: where the images or the prepared records lie; ``digits_segmentation`` needs none.
      image_size: side of the square images it gives; None is the set's usual one.
      augment: of ImageNet, see ``imagenet.load``, whose default is None; the others have one of
        their own, for which "none" stands, too.
      num_workers: processes that read; 0 is threads of this one.

    Raises ValueError for an unknown name or bad values, FileNotFoundError for missing data,
    ImportError without grain.
    """
    if name not in STREAMS:
        raise ValueError(f"unknown stream {name!r}; choose one of {', '.join(STREAMS)}")
    check_reader()
    options: dict = {} if image_size is None else {"image_size": image_size}
    if name in imagenet.READERS:
        options |= {} if augment is None else {"augment": augment}
    elif augment not in (None, "none"):
        raise ValueError(
            f"{name} has its own augmentation; augment must be 'none', not {augment!r}"
        )
    return STREAMS[name](data_dir, num_workers=num_workers, **options)


__all__ = [
    "DATASETS",
    "STREAMS",
    "Augment",
    "Dataset",
    "Stream",
    "augment_batch",
    "epoch_order",
    "identity",
    "load",
    "normalise",
    "open_stream",
    "pad_crop_flip",
    "resize_batch",
    "resized_crop_flip",
    "score_batches",
]
