"""A data set as arrays in memory, and what all sources of one share."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images ``x uint8 [N, H, W, C]`` and labels ``y int32 [N]``, for training and for testing.

    ``mean`` and ``std`` are per channel, in units where a pixel lies in [0, 1]; ``classes`` names
    the labels. Raises ValueError when shapes, types, labels or statistics do not fit together.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]

    def __post_init__(self):
        self._check_split("train", self.x_train, self.y_train)
        self._check_split("test", self.x_test, self.y_test)
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise ValueError(
                f"{self.name}: training images are {self.x_train.shape[1:]}, "
                f"test images {self.x_test.shape[1:]}"
            )
        if len(self.classes) != self.num_classes:
            raise ValueError(
                f"{self.name}: {len(self.classes)} class names for {self.num_classes} classes"
            )
        check_statistics(self.mean, self.std, self.image_shape[-1], self.name)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(H, W, C)``."""
        return self.x_train.shape[1:]

    @property
    def num_train(self) -> int:
        """The number of training images."""
        return len(self.x_train)

    def examples(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The training images and labels at ``index``."""
        return self.x_train[index], self.y_train[index]

    def _check_split(self, split: str, x: np.ndarray, y: np.ndarray) -> None:
        where = f"{self.name} ({split})"
        if x.dtype != np.uint8 or x.ndim != 4 or x.size == 0:
            raise ValueError(
                f"{where}: expected uint8 images [N, H, W, C], got {x.dtype} {x.shape}"
            )
        if y.dtype != np.int32 or y.shape != x.shape[:1]:
            raise ValueError(
                f"{where}: expected int32 labels {x.shape[:1]}, got {y.dtype} {y.shape}"
            )
        if y.min() < 0 or y.max() >= self.num_classes:
            raise ValueError(
                f"{where}: labels {y.min()}..{y.max()} lie outside 0..{self.num_classes - 1}"
            )


def check_statistics(
    mean: tuple[float, ...], std: tuple[float, ...], channels: int, name: str = "normalise"
) -> None:
    """Raise ValueError unless ``mean`` and ``std`` hold ``channels`` usable values each."""
    if not len(mean) == len(std) == channels:
        raise ValueError(
            f"{name}: {len(mean)} means and {len(std)} standard deviations for {channels} channels"
        )
    if not all(s > 0 for s in std):
        raise ValueError(f"{name}: standard deviations must be positive, got {std}")


def check_image_size(image_size: int | None) -> None:
    """Raise ValueError unless ``image_size`` is None or a positive number of pixels."""
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel, got {image_size}")


def resize(images: np.ndarray, image_size: int | None) -> np.ndarray:
    """``uint8 [N, H, W, C]`` to ``[N, image_size, image_size, C]``, bilinear; None keeps the size.

    Pillow widens the filter when it shrinks, so that shrinking averages instead of skipping pixels.
    """
    check_image_size(image_size)
    n, height, width, channels = images.shape
    if image_size is None or (height, width) == (image_size, image_size):
        return images
    result = np.empty((n, image_size, image_size, channels), np.uint8)
    for i in range(n):
        for c in range(channels):
            plane = Image.fromarray(images[i, :, :, c])
            plane = plane.resize((image_size, image_size), Image.Resampling.BILINEAR)
            result[i, :, :, c] = np.asarray(plane)
    return result


def to_channels(images: np.ndarray, channels: int | None) -> np.ndarray:
    """``uint8 [N, H, W, 1 or 3]`` with ``channels`` of 1 or 3; None keeps them.

    Grey is repeated; colour becomes the luma of ITU-R 601, rounded as Pillow does.

    >>> to_channels(np.full((1, 1, 1, 3), 7, np.uint8), 1).tolist()
    [[[[7]]]]
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    if channels is None or channels == images.shape[-1]:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=-1)
    red, green, blue = (images[..., c].astype(np.uint32) for c in range(3))
    luma = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return luma.astype(np.uint8)[..., None]


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel over all pixels, in [0, 1] units.

    Taken from histograms, so they are exact and need no float copy of the images.
    """
    levels = np.arange(256) / 255.0
    mean, std = [], []
    for c in range(images.shape[-1]):
        weights = _histogram(images[..., c]) / images[..., c].size
        mean.append(float(weights @ levels))
        std.append(float(np.sqrt(weights @ (levels - mean[-1]) ** 2)))
    return tuple(mean), tuple(std)


def _histogram(plane: np.ndarray) -> np.ndarray:
    """How often each of the 256 levels occurs; in blocks, because bincount makes int64 copies."""
    counts = np.zeros(256, np.int64)
    for start in range(0, len(plane), 4096):
        counts += np.bincount(plane[start : start + 4096].ravel(), minlength=256)
    return counts


def from_arrays(
    name: str,
    arrays: Mapping[str, np.ndarray],
    *,
    channels: int | None = None,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> Dataset:
    """A Dataset of ``x_train, y_train, x_test, y_test, classes`` with the wanted channels.

    ``statistics`` are the published ``(mean, std)`` of the set; they are used when they have as
    many channels as the images, otherwise both are computed from the training images.
    """
    x_train = to_channels(arrays["x_train"], channels)
    if statistics is None or len(statistics[0]) != x_train.shape[-1]:
        statistics = channel_statistics(x_train)
    classes = tuple(str(c) for c in arrays["classes"])
    return Dataset(
        name=name,
        x_train=x_train,
        y_train=arrays["y_train"].astype(np.int32),
        x_test=to_channels(arrays["x_test"], channels),
        y_test=arrays["y_test"].astype(np.int32),
        num_classes=len(classes),
        mean=statistics[0],
        std=statistics[1],
        classes=classes,
    )
