"""Any image folder ``train/<class>/*``, ``test/<class>/*`` of JPEG or PNG files."""

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ntk_prune.data.cache import Arrays, Listing, cached
from ntk_prune.data.dataset import Dataset, check_image_size, from_arrays

SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png")
LAYOUT = "expected train/<class>/* and test/<class>/*"


def load(
    data_dir: str | os.PathLike | None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Decode the folder once and keep the arrays in an .npz (see ``cache.cached``).

    Classes are sorted by name, files naturally (``2.png`` before ``10.png``). ``image_size``
    squeezes every image to a square, bilinear; None needs images of one size.

    Raises FileNotFoundError, NotADirectoryError or ValueError, in one line, for a folder that is
    missing, empty, of different classes in train and test, of mixed sizes, or holds a file that
    is no image.
    """
    check_image_size(image_size)
    if data_dir is None:
        raise ValueError(f"an image folder needs data_dir: {LAYOUT}")
    root = Path(data_dir).expanduser()
    classes, listing = scan(root)
    arrays = cached(
        lambda: decode_all(root, classes, [path for path, _, _ in listing], image_size),
        root,
        listing,
        image_size,
        cache_dir,
    )
    return from_arrays(root.resolve().name, arrays, channels=channels)


def scan(root: Path) -> tuple[list[str], Listing]:
    """The classes and all image files under ``root``, in the order in which they are decoded."""
    if not root.is_dir():
        raise FileNotFoundError(f"no image folder {root}: {LAYOUT}")
    for split in SPLITS:
        if not (root / split).is_dir():
            raise FileNotFoundError(f"{root} has no folder {split}/: {LAYOUT}")
    train, test = (_subfolders(root / split) for split in SPLITS)
    if train != test:
        only = ", ".join(sorted(set(train) ^ set(test))[:5])
        raise ValueError(f"{root}: train/ and test/ have different classes: {only}")
    if not train:
        raise ValueError(f"no images in {root}: {LAYOUT}")
    return train, [file for split in SPLITS for c in train for file in _images(root, split, c)]


def _subfolders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def _images(root: Path, split: str, class_name: str) -> Listing:
    """The image files of one class, in natural order."""
    files = [
        (f"{split}/{class_name}/{e.name}", e.stat().st_size, e.stat().st_mtime_ns)
        for e in os.scandir(root / split / class_name)
        if e.name.lower().endswith(SUFFIXES) and not e.name.startswith(".")
    ]
    if not files:
        raise ValueError(f"no images ({', '.join(SUFFIXES)}) in {root / split / class_name}")
    return sorted(files, key=lambda file: _natural(file[0]))


def _natural(path: str) -> tuple:
    """A sort key that compares runs of digits as numbers."""
    return [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", path)], path


def decode_all(root: Path, classes: list[str], paths: list[str], image_size: int | None) -> Arrays:
    """The arrays of all ``paths`` (``<split>/<class>/<file>``)."""
    label = {name: i for i, name in enumerate(classes)}
    arrays: Arrays = {"classes": np.array(classes)}
    for split in SPLITS:
        chosen = [path for path in paths if path.startswith(f"{split}/")]
        arrays[f"x_{split}"] = decode(root, chosen, image_size)
        arrays[f"y_{split}"] = np.array([label[p.split("/")[1]] for p in chosen], np.int32)
    return arrays


def decode(root: Path, paths: list[str], image_size: int | None) -> np.ndarray:
    """``uint8 [N, H, W, 3]``, decoded by threads straight into the one array."""
    first = decode_one(root / paths[0], image_size)
    images = np.empty((len(paths), *first.shape), np.uint8)

    def fill(indices: Iterable[int]) -> None:
        for i in indices:
            image = decode_one(f"{root}/{paths[i]}", image_size)
            if image.shape != first.shape:
                raise ValueError(
                    f"images differ in size: {root / paths[i]} is {_size(image)}, "
                    f"{root / paths[0]} is {_size(first)}; set image_size"
                )
            images[i] = image

    blocks = [range(i, min(i + 256, len(paths))) for i in range(0, len(paths), 256)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, blocks))
    return images


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def decode_one(path: str | os.PathLike, image_size: int | None) -> np.ndarray:
    """One file as ``uint8 [H, W, 3]``; ValueError, naming it, where that is impossible."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would clip 16 bits to 8
                raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
            image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot decode image {path}: {error}") from error
    if image_size is not None and image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image)
