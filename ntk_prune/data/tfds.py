"""TensorFlow Datasets prepared as array_record, read into arrays without TensorFlow."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from ntk_prune.data.cache import PREFIX, Arrays, Listing, cached
from ntk_prune.data.dataset import Dataset, check_image_size, from_arrays, resize

# What the original archives are called, for preparing without a network.
ARCHIVES = {
    "cifar10": ("cifar-10-binary.tar.gz",),
    "cifar100": ("cifar-100-binary.tar.gz",),
    "mnist": (
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ),
    "svhn_cropped": ("train_32x32.mat", "test_32x32.mat", "extra_32x32.mat"),
    # Not downloaded by anybody: its licence is given to persons.
    "imagenet2012": ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
}

# (mean, std) per channel of the published recipes; the others are computed.
STATISTICS = {
    "cifar10": ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
    "cifar100": ((0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
}


def load(
    name: str,
    data_dir: str | os.PathLike | None = None,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> Dataset:
    """The train and test splits of ``cifar10``, ``cifar100``, ``mnist`` or ``svhn_cropped``.

    ``data_dir`` is the root of TensorFlow Datasets (default: ``$TFDS_DATA_DIR``, then
    ``~/tensorflow_datasets``). The arrays are cached beside the records.

    Raises FileNotFoundError with the command that prepares the set, ValueError when it is
    prepared in a format that cannot be read without TensorFlow.
    """
    check_image_size(image_size)
    prepared = find(name, default_dir() if data_dir is None else Path(data_dir).expanduser())
    arrays = cached(
        lambda: read(prepared, image_size), prepared, _listing(prepared), image_size, cache_dir
    )
    return from_arrays(name, arrays, channels=channels, statistics=STATISTICS.get(name))


def default_dir() -> Path:
    """Where TensorFlow Datasets keeps prepared sets unless told otherwise."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def prepare_command(name: str, data_dir: Path) -> str:
    """The command line that prepares ``name`` under ``data_dir``."""
    return f"python -m ntk_prune.data.prepare {name} --data_dir {data_dir}"


def find(name: str, data_dir: Path) -> Path:
    """The folder ``<data_dir>/<name>/<version>`` of the newest version prepared as array_record."""
    prepared = [p.parent for p in (data_dir / name).glob("*/dataset_info.json")]
    # A preparation that was killed leaves an `incomplete.*` folder behind.
    versions = [p for p in prepared if re.fullmatch(r"\d+\.\d+\.\d+", p.name)]
    if not versions:
        raise FileNotFoundError(
            f"{name} is not prepared in {data_dir / name}: run `{prepare_command(name, data_dir)}`"
            f" (without a network add --manual_dir with {', '.join(ARCHIVES[name])})"
        )
    newest = max(versions, key=lambda p: tuple(int(s) for s in p.name.split(".")))
    file_format = json.loads((newest / "dataset_info.json").read_text()).get("fileFormat")
    if file_format != "array_record":
        raise ValueError(
            f"{newest} is prepared as {file_format or 'tfrecord'}, not array_record: move it away "
            f"and run `{prepare_command(name, data_dir)}`"
        )
    return newest


def _listing(prepared: Path) -> Listing:
    entries = sorted(os.scandir(prepared), key=lambda e: e.name)
    return [
        (e.name, e.stat().st_size, e.stat().st_mtime_ns)
        for e in entries
        if e.is_file() and not e.name.startswith(PREFIX)
    ]


def datasets_library() -> Any:
    """The module ``tensorflow_datasets``. ImportError names the extra that installs it."""
    try:
        import array_record  # noqa: F401 (needed as soon as a record is read)
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"sets of TensorFlow Datasets need pip install 'ntk_prune[tfds]' ({error})"
        ) from error
    return tensorflow_datasets


def open_prepared(prepared: Path) -> Any:
    """The builder of a prepared set, for its ``info`` and ``as_data_source``."""
    return datasets_library().builder_from_directory(prepared)


def read(prepared: Path, image_size: int | None) -> Arrays:
    """All examples of both splits, in the order of the records."""
    builder = open_prepared(prepared)
    arrays: Arrays = {"classes": np.array(builder.info.features["label"].names)}
    for split in ("train", "test"):
        examples = [(e["image"], e["label"]) for e in builder.as_data_source(split)]
        images, labels = zip(*examples, strict=True)
        arrays[f"x_{split}"] = resize(np.stack(images), image_size)
        arrays[f"y_{split}"] = np.array(labels, np.int32)
    return arrays
