"""Any image folder ``train/<class>/*``, ``test/<class>/*`` of the formats in ``images``."""

import os
import re
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ntk_prune.data.cache import Arrays, Listing, cached
from ntk_prune.data.dataset import Dataset, check_image_size, from_arrays
from ntk_prune.data.images import SUFFIXES, Root, is_image, read_rgb

SPLITS = ("train", "test")


def load(
    data_dir: str | os.PathLike | None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Decode the folder once and keep the arrays in an .npz (see ``cache.cached``).

    Classes are sorted by name, files naturally (``2.png`` before ``10.png``), those in folders
    below a class among them. Transparent parts are white, orientation tags are followed; files that
    are no images are skipped with a warning. ``image_size`` squeezes every image to a square,
    bilinear; None needs images of one size.

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
    """The image files of one class, at any depth, in natural order."""
    folder = root / split / class_name
    visible = [
        Path(parent, name).relative_to(folder).as_posix()
        for parent, below, names in os.walk(folder)
        if not _hide(below)
        for name in names
        if not name.startswith(".")
    ]
    names = [name for name in visible if is_image(name.rpartition("/")[2])]
    if not names:
        raise ValueError(f"no images ({', '.join(SUFFIXES)}) in {folder}")
    if skipped := sorted(set(visible).difference(names)):
        warnings.warn(
            f"{len(skipped)} files in {folder} are no images and are skipped: {skipped[0]}"
            + (", ..." if len(skipped) > 1 else ""),
            stacklevel=2,
        )
    return [f"{split}/{class_name}/{name}" for name in sorted(names, key=natural)]


def _hide(folders: list[str]) -> None:
    """Have ``os.walk`` leave out hidden folders."""
    folders[:] = [name for name in folders if not name.startswith(".")]


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
    image = read_rgb(path, upright=True)
    if image_size is not None and image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image)
