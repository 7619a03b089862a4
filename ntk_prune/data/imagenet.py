"""ImageNet (ILSVRC 2012) as a stream, from TensorFlow Datasets or from an image folder."""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from ntk_prune.data import folder, tfds, transforms
from ntk_prune.data.dataset import check_image_size
from ntk_prune.data.images import read_rgb, rgb
from ntk_prune.data.stream import Example, Rng, Source, Stream

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Augment = Literal["none", "standard", "moco"]
Transform = Callable[[Rng, Image.Image, int], Image.Image]


def load(
    name: Literal["imagenet", "imagenet_folder"],
    data_dir: str | os.PathLike | None = None,
    *,
    image_size: int = 224,
    augment: Augment = "standard",
    num_workers: int = 0,
) -> Stream:
    """``imagenet2012`` prepared by TensorFlow Datasets, or a folder ``train/<class>/*``,
    ``val/<class>/*``; validation is the test split.

    Args:
      name: which of the two. Only a folder gives its labels, ``y_train``, without being read.
      data_dir: the folder; or the root of TensorFlow Datasets, by default as in ``tfds.load``.
      image_size: side of the square crops, in pixels.
      augment: "standard" or "moco", see ``transforms``; "none" trains on the test transform.
      num_workers: processes that read; 0 is threads of this one.

    Raises FileNotFoundError or ValueError in one line: what is missing and how to get it, or a bad
    value. A file that is no image is named when it is read.
    """
    check_image_size(image_size)
    if augment not in AUGMENTATIONS:
        known = ", ".join(AUGMENTATIONS)
        raise ValueError(f"{name}: unknown augment {augment!r}; choose one of {known}")
    contents = READERS[name](data_dir)
    return Stream(
        name=name,
        num_classes=len(contents.classes),
        mean=MEAN,
        std=STD,
        classes=contents.classes,
        image_shape=(image_size, image_size, 3),
        train=contents.train,
        test=contents.test,
        augment=functools.partial(_augment, AUGMENTATIONS[augment], image_size),
        resize=functools.partial(_resize, image_size),
        num_workers=num_workers,
        y_train=contents.y_train,
    )


class Contents(NamedTuple):
    """What a reader finds, and the training labels if it knows them."""

    classes: tuple[str, ...]
    train: Source
    test: Source
    y_train: np.ndarray | None


def from_tfds(data_dir: str | os.PathLike | None) -> Contents:
    """The records of TensorFlow Datasets, read without TensorFlow."""
    root = tfds.default_dir() if data_dir is None else Path(data_dir).expanduser()
    prepared = tfds.find("imagenet2012", root)
    builder = tfds.open_prepared(prepared)
    if missing := {"train", "validation"} - set(builder.info.splits):
        raise ValueError(f"{prepared} was prepared without {' and '.join(sorted(missing))}")
    train, test = (Source(_record, _records(builder, s)) for s in ("train", "validation"))
    return Contents(tuple(builder.info.features["label"].names), train, test, None)


def _records(builder: Any, split: str) -> Sequence[dict]:
    """The examples of ``split`` with encoded images, so that both readers decode alike."""
    decoders = {"image": tfds.datasets_library().decode.SkipDecoding()}
    return builder.as_data_source(split, decoders=decoders)


def _record(record: dict) -> Example:
    try:
        return rgb(record["image"]), record["label"]
    except (OSError, ValueError) as error:
        file = record["file_name"].decode()
        raise ValueError(f"cannot decode image {file} of imagenet2012: {error}") from error


def from_folder(data_dir: str | os.PathLike | None) -> Contents:
    """The files of an image folder; classes are sorted by name."""
    splits = ("train", "val")
    if data_dir is None:
        raise ValueError(f"imagenet_folder needs data_dir: {folder.layout(splits)}")
    root = Path(data_dir).expanduser()
    classes, paths = folder.scan(root, splits)
    y = folder.class_numbers(paths, classes)
    labelled = list(zip(paths, y.tolist(), strict=True))
    n = sum(path.startswith("train/") for path in paths)
    train, test = (Source(functools.partial(_file, root), p) for p in (labelled[:n], labelled[n:]))
    return Contents(tuple(classes), train, test, y[:n])


def _file(root: Path, item: tuple[str, int]) -> Example:
    path, label = item
    return read_rgb(root / path), label


READERS: dict[str, Callable[[str | os.PathLike | None], Contents]] = {
    "imagenet": from_tfds,
    "imagenet_folder": from_folder,
}


def _augment(transform: Transform, size: int, rng: Rng, image: Image.Image, label: Any) -> Example:
    return transform(rng, image, size), label


def _resize(size: int, image: Image.Image, label: Any) -> Example:
    return transforms.imagenet_test(image, size), label


def _none(rng: Rng, image: Image.Image, size: int) -> Image.Image:
    del rng
    return transforms.imagenet_test(image, size)


AUGMENTATIONS: dict[str, Transform] = {
    "none": _none,
    "standard": transforms.imagenet_standard,
    "moco": transforms.imagenet_moco,
}
