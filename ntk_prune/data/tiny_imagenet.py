"""Tiny-ImageNet as it is distributed: the unpacked folder, or the .zip file itself.

The validation images are the test split: the labels of ``test/`` were never published.
"""

import os
import zipfile
from pathlib import Path

import numpy as np

from ntk_prune.data.cache import Listing, cached
from ntk_prune.data.dataset import Dataset, check_image_size, from_arrays
from ntk_prune.data.folder import class_numbers, decode, natural, stamps
from ntk_prune.data.images import UNREADABLE, Root, content, is_image

FOLDER = "tiny-imagenet-200"
LAYOUT = (
    f"expected {FOLDER}.zip, or unpacked {FOLDER}/ with wnids.txt, words.txt, "
    "train/<wnid>/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt"
)
STATISTICS = ((0.480, 0.448, 0.397), (0.276, 0.269, 0.282))


def load(
    data_dir: str | os.PathLike | None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """100,000 training and 10,000 validation images of 64x64 pixels in 200 classes.

    Classes are numbered by their sorted WordNet ids and named by ``words.txt``. The decoded arrays
    are cached (see ``cache.cached``).

    Args:
      data_dir: the unpacked folder, its parent, the .zip file, or the folder that holds it.
      image_size: side in pixels to which images are resized; None keeps their own.
      channels: 1 (grey) or 3; None is 3.
      cache_dir: where decoded images are stored; None is beside the data if that is writable.

    Raises FileNotFoundError or ValueError, in one line, for what is missing, does not fit together
    or cannot be decoded.
    """
    check_image_size(image_size)
    if data_dir is None:
        raise ValueError(f"tiny_imagenet needs data_dir: {LAYOUT}")
    root = find(Path(data_dir).expanduser())
    wnids, names = sorted(_lines(root, "wnids.txt")), _table(root, "words.txt")
    train, annotated = _train(root, wnids), _validation(root, wnids)
    images = cached(
        lambda: {
            "x_train": decode(root, train, image_size),
            "x_test": decode(root, list(annotated), image_size),
        },
        *_origin(root, [*train, *annotated]),
        image_size,
        cache_dir,
    )
    arrays = {
        **images,
        "classes": np.array([names.get(wnid, wnid) for wnid in wnids]),
        "y_train": class_numbers(train, wnids),
        "y_test": np.searchsorted(wnids, list(annotated.values())),
    }
    return from_arrays("tiny_imagenet", arrays, channels=channels, statistics=STATISTICS)


def find(data_dir: Path) -> Root:
    """The folder, on disk or within the .zip file, that holds ``wnids.txt``."""
    folders: list[Root] = [data_dir, data_dir / FOLDER]
    for file in (data_dir, data_dir / f"{FOLDER}.zip"):
        if file.is_file():
            try:
                folders.append(zipfile.Path(zipfile.ZipFile(file)) / FOLDER / "")
            except UNREADABLE as error:
                raise ValueError(f"{file} is damaged or no .zip file: {error}") from error
    for folder in folders:
        if (folder / "wnids.txt").is_file():
            return folder
    raise FileNotFoundError(f"no Tiny-ImageNet in {data_dir}: {LAYOUT}")


def _lines(root: Root, path: str) -> list[str]:
    if not (root / path).is_file():
        raise FileNotFoundError(f"{root} has no {path}: {LAYOUT}")
    try:
        text = content(root / path).decode("utf-8")
    except UNREADABLE as error:
        raise ValueError(f"cannot read {root / path}: {error}") from error
    return [line for line in text.splitlines() if line]


def _table(root: Root, path: str) -> dict[str, str]:
    """The first two columns of a file whose columns are separated by tabs."""
    rows = (line.split("\t") for line in _lines(root, path))
    return {row[0]: row[1] for row in rows if len(row) > 1}


def _images(root: Root, split: str) -> list[str]:
    """All image files below ``split``, relative to ``root``, in natural order."""
    if isinstance(root, zipfile.Path):
        # Not iterdir, which goes through the names of all files for every folder.
        inside = f"{root.at}{split}/"
        names = [name for name in root.root.namelist() if name.startswith(inside)]
        paths = [name.removeprefix(root.at) for name in names]
    else:
        paths = [path.relative_to(root).as_posix() for path in (root / split).rglob("*.*")]
    return sorted((p for p in paths if is_image(p.rsplit("/", 1)[-1])), key=natural)


def _train(root: Root, wnids: list[str]) -> list[str]:
    """The training images; every class has some, and there is no other class."""
    paths = _images(root, "train")
    present = {path.split("/")[1] for path in paths}
    if present != set(wnids):
        only = ", ".join(sorted(present ^ set(wnids))[:5])
        raise ValueError(f"{root}: wnids.txt and train/ have different classes: {only}")
    return paths


def _validation(root: Root, wnids: list[str]) -> dict[str, str]:
    """The validation images and their classes."""
    paths = _images(root, "val/images")
    annotations = _table(root, "val/val_annotations.txt")
    annotated = {f"val/images/{name}": wnid for name, wnid in annotations.items()}
    if set(paths) != set(annotated):
        only = ", ".join(sorted(set(paths) ^ set(annotated), key=natural)[:5])
        raise ValueError(f"{root}: val_annotations.txt and val/images/ differ: {only}")
    unknown = sorted(set(annotated.values()) - set(wnids))
    if not paths or unknown:
        fault = f"classes not in wnids.txt: {', '.join(unknown[:5])}" if unknown else "no images"
        raise ValueError(f"{root}: val_annotations.txt has {fault}")
    return {path: annotated[path] for path in paths}


def _origin(root: Root, paths: list[str]) -> tuple[Path, Listing]:
    """Where the cache is written, and what it depends on."""
    if isinstance(root, zipfile.Path):
        file = Path(str(root.root.filename))
        return file.parent, stamps(file.parent, [file.name])
    return root, stamps(root, paths)
