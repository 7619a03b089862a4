"""Pictures whose every pixel has a class: PASCAL VOC 2012, and one made of the embedded digits.

Masks hold class numbers; 255 (``transforms.IGNORE``) marks borders, which count nowhere.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ntk_prune.data import digits, transforms
from ntk_prune.data.dataset import channel_statistics, check_image_size
from ntk_prune.data.imagenet import MEAN, STD
from ntk_prune.data.images import FORMATS, read_rgb
from ntk_prune.data.stream import Example, Rng, Source, Stream

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
VOC_LAYOUT = (
    "expected VOCdevkit/VOC2012/ with JPEGImages/*.jpg, SegmentationClass/*.png and "
    "ImageSets/Segmentation/{train,val}.txt"
)
CANVAS, GLYPH = 32, 14  # sides in pixels of a picture of digits, and of a digit


def voc2012(
    data_dir: str | os.PathLike | None = None, *, image_size: int = 513, num_workers: int = 0
) -> Stream:
    """PASCAL VOC 2012: the 1,464 pictures of ``train``, and the 1,449 of ``val`` for testing.

    Training: a random scale, a random square with padding, a flip; testing: the shorter side
    resized, the middle square (see ``transforms``).

    Args:
      data_dir: VOCdevkit, VOC2012, or the folder that holds VOCdevkit.
      image_size: side of the squares, in pixels.
      num_workers: processes that read; 0 is threads of this one.

    Raises FileNotFoundError or ValueError in one line for what is missing; a picture or mask that
    cannot be used is named when it is read.
    """
    if data_dir is None:
        raise ValueError(f"voc2012 needs data_dir: {VOC_LAYOUT}")
    root = _find_voc(Path(data_dir).expanduser())
    load = functools.partial(_load_voc, root)
    train, test = (Source(load, _voc_names(root, split)) for split in ("train", "val"))
    return _stream("voc2012", VOC_CLASSES, (MEAN, STD), train, test, image_size, num_workers)


def _find_voc(data_dir: Path) -> Path:
    for root in (data_dir, data_dir / "VOC2012", data_dir / "VOCdevkit" / "VOC2012"):
        if (root / "ImageSets" / "Segmentation").is_dir():
            return root
    raise FileNotFoundError(f"no PASCAL VOC 2012 in {data_dir}: {VOC_LAYOUT}")


def _voc_names(root: Path, split: str) -> list[str]:
    """The names of a split, all of which have a picture and a mask."""
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not path.is_file() or not (names := path.read_text().split()):
        raise FileNotFoundError(f"{path} is missing or empty: {VOC_LAYOUT}")
    for name in names:
        for file in (
            root / "JPEGImages" / f"{name}.jpg",
            root / "SegmentationClass" / f"{name}.png",
        ):
            if not file.is_file():
                raise FileNotFoundError(f"{path.name} names {name}, but there is no {file}")
    return names


def _load_voc(root: Path, name: str) -> Example:
    image = read_rgb(root / "JPEGImages" / f"{name}.jpg")
    path = root / "SegmentationClass" / f"{name}.png"
    mask = _read_mask(path, len(VOC_CLASSES))
    if mask.size != image.size:
        raise ValueError(f"{path} is {mask.size}, its picture is {image.size} (width, height)")
    return image, mask


def _read_mask(path: Path, num_classes: int) -> Image.Image:
    """The palette's indices, not its colours, as an image of grey levels."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            mode, indices = image.mode, np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"cannot decode mask {path}: {error}") from error
    if mode not in ("P", "L"):
        raise ValueError(f"mask {path} has colours (mode {mode}); its pixels must be class numbers")
    odd = indices[(indices >= num_classes) & (indices != transforms.IGNORE)]
    if odd.size:
        raise ValueError(
            f"mask {path} has the class {odd[0]}; expected 0..{num_classes - 1} or 255"
        )
    return Image.fromarray(indices)


def digits_segmentation(
    data_dir: str | os.PathLike | None = None, *, image_size: int = CANVAS, num_workers: int = 0
) -> Stream:
    """Two embedded digits in every picture of 32x32 pixels, at random but fixed places.

    Class 0 is the background, ``d + 1`` the digit ``d``, 255 its faint border. 1,437 pictures for
    training and 360 for testing, the split and every digit's share as in ``digits``; transforms as
    in ``voc2012``. ``data_dir`` is not read.
    """
    del data_dir
    glyphs = digits.load(image_size=GLYPH)
    rng = np.random.default_rng(0)
    train = _canvases(rng, glyphs.x_train, glyphs.y_train)
    test = _canvases(rng, glyphs.x_test, glyphs.y_test)
    return _stream(
        "digits_segmentation",
        ("background", *glyphs.classes),
        channel_statistics(train[0]),
        Source(_pictures, list(zip(*train, strict=True))),
        Source(_pictures, list(zip(*test, strict=True))),
        image_size,
        num_workers,
    )


def _canvases(rng: Rng, glyphs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``x uint8 [N, 32, 32, 3]``, ``y uint8 [N, 32, 32]``: glyph ``i`` left, another one right."""
    n = len(glyphs)
    x = np.zeros((n, CANVAS, CANVAS), np.uint8)
    y = np.zeros_like(x)
    for half, glyph in enumerate((np.arange(n), rng.permutation(n))):
        rows = rng.integers(CANVAS - GLYPH + 1, size=n)
        columns = half * CANVAS // 2 + rng.integers(CANVAS // 2 - GLYPH + 1, size=n)
        for i, (g, row, column) in enumerate(zip(glyph, rows, columns, strict=True)):
            place = i, slice(row, row + GLYPH), slice(column, column + GLYPH)
            ink = glyphs[g, ..., 0]
            x[place] = ink
            y[place] = np.select([ink >= 128, ink >= 48], [labels[g] + 1, transforms.IGNORE], 0)
    return np.repeat(x[..., None], 3, axis=-1), y


def _pictures(item: tuple[np.ndarray, np.ndarray]) -> Example:
    image, mask = map(Image.fromarray, item)
    return image, mask


def _stream(
    name: str,
    classes: tuple[str, ...],
    statistics: tuple[tuple[float, ...], tuple[float, ...]],
    train: Sequence[Example],
    test: Sequence[Example],
    image_size: int,
    num_workers: int,
) -> Stream:
    check_image_size(image_size)
    return Stream(
        name=name,
        num_classes=len(classes),
        mean=statistics[0],
        std=statistics[1],
        classes=classes,
        image_shape=(image_size, image_size, 3),
        train=train,
        test=test,
        augment=functools.partial(_augment, image_size),
        resize=functools.partial(_resize, image_size),
        num_workers=num_workers,
    )


def _augment(size: int, rng: Rng, image: Image.Image, mask: Image.Image) -> Example:
    return transforms.segmentation_train(rng, image, mask, size)


def _resize(size: int, image: Image.Image, mask: Image.Image) -> Example:
    return transforms.segmentation_test(image, mask, size)
