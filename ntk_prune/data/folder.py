"""Any image folder ``train/<class>/*``, ``test/<class>/*`` of JPEG or PNG files."""

import io
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ntk_prune.data.cache import Arrays, Listing, cached
from ntk_prune.data.dataset import Dataset, check_image_size, from_arrays

SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png")
Root = Path | zipfile.Path
"""A folder, or a folder within a .zip file."""


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
        raise ValueError(f"an image folder needs data_dir: {layout(SPLITS)}")
    root = Path(data_dir).expanduser()
    classes, paths = scan(root)
    arrays = cached(
        lambda: decode_all(root, classes, paths, image_size),
        root,
        stamps(root, paths),
        image_size,
        cache_dir,
    )
    return from_arrays(root.resolve().name, arrays, channels=channels)


def scan(root: Path, splits: tuple[str, str] = SPLITS) -> tuple[list[str], list[str]]:
    """The classes, and ``<split>/<class>/<file>`` of all images in the order they are decoded."""
    expected = layout(splits)
    if not root.is_dir():
        raise FileNotFoundError(f"no image folder {root}: {expected}")
    for split in splits:
        if not (root / split).is_dir():
            raise FileNotFoundError(f"{root} has no folder {split}/: {expected}")
    first, second = (_subfolders(root / split) for split in splits)
    if first != second:
        only = ", ".join(sorted(set(first) ^ set(second))[:5])
        raise ValueError(f"{root}: {splits[0]}/ and {splits[1]}/ have different classes: {only}")
    if not first:
        raise ValueError(f"no images in {root}: {expected}")
    return first, [path for split in splits for c in first for path in _images(root, split, c)]


def layout(splits: tuple[str, str]) -> str:
    """What a folder has to look like, for an error."""
    return "expected " + " and ".join(f"{split}/<class>/*" for split in splits)


def _subfolders(folder: Path) -> list[str]:
    return sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))


def _images(root: Path, split: str, class_name: str) -> list[str]:
    """The image files of one class, in natural order."""
    names = [e.name for e in os.scandir(root / split / class_name) if is_image(e.name)]
    if not names:
        raise ValueError(f"no images ({', '.join(SUFFIXES)}) in {root / split / class_name}")
    return [f"{split}/{class_name}/{name}" for name in sorted(names, key=natural)]


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def stamps(root: Path, paths: Iterable[str]) -> Listing:
    """Size and time of every file, by which a cache knows whether one has changed."""
    stats = ((path, os.stat(f"{root}/{path}")) for path in paths)
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def natural(path: str) -> tuple:
    """A sort key that compares runs of digits as numbers."""
    return [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", path)], path


def decode_all(root: Path, classes: list[str], paths: list[str], image_size: int | None) -> Arrays:
    """The arrays of all ``paths`` (``<split>/<class>/<file>``)."""
    arrays: Arrays = {"classes": np.array(classes)}
    for split in SPLITS:
        chosen = [path for path in paths if path.startswith(f"{split}/")]
        arrays[f"x_{split}"] = decode(root, chosen, image_size)
        arrays[f"y_{split}"] = class_numbers(chosen, classes)
    return arrays


def class_numbers(paths: Iterable[str], classes: Iterable[str]) -> np.ndarray:
    """``int32 [N]``: the numbers of the classes in ``<split>/<class>/...``."""
    number = {name: i for i, name in enumerate(classes)}
    return np.array([number[path.split("/")[1]] for path in paths], np.int32)


def decode(root: Root, paths: list[str], image_size: int | None) -> np.ndarray:
    """``uint8 [N, H, W, 3]``, decoded by threads straight into the one array."""
    first = decode_one(root / paths[0], image_size)
    images = np.empty((len(paths), *first.shape), np.uint8)

    def fill(indices: Iterable[int]) -> None:
        for i in indices:
            image = decode_one(root / paths[i], image_size)
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


def decode_one(path: Root, image_size: int | None) -> np.ndarray:
    """One file as ``uint8 [H, W, 3]``; ValueError, naming it, where that is impossible."""
    image = read_rgb(path)
    if image_size is not None and image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def read_rgb(path: Root) -> Image.Image:
    """The image in one file; ValueError, naming it, where that is impossible."""
    try:
        return rgb(path.read_bytes())
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"cannot decode image {path}: {error}") from error


def rgb(encoded: bytes) -> Image.Image:
    """An encoded image in red, green and blue; OSError or ValueError where that is impossible."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would clip 16 bits to 8
                raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
            return image.convert("RGB")
    except UnidentifiedImageError:  # whose words are an address in memory
        raise ValueError(f"{len(encoded)} bytes that are no image of a known format") from None
    except (SyntaxError, Image.DecompressionBombError) as error:  # what Pillow says of broken PNGs
        raise ValueError(str(error)) from error
