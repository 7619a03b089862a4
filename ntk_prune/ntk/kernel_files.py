"""Kernels as files, with their convention and what made them."""

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ntk_prune.checkpoint import replacing, write_atomically
from ntk_prune.types import Array

_ABOUT = "kernel"  # the tensor, and the one metadata key: JSON about it
_PACKAGES = ("ntk_prune", "jax", "numpy")


class SavedKernel(NamedTuple):
    """A kernel and what was said of it when it was saved.

    Attributes:
        kernel: ``[n1, n2, ...]``.
        outputs: Its convention, as for ``empirical_ntk``; ``"projection"`` for a projection.
        wrt: In which parameters.
        density: The kept fraction of the prunable weights.
        notes: What else was given.
        versions: Of the packages that wrote the file.
    """

    kernel: np.ndarray
    outputs: str
    wrt: str
    density: float
    notes: dict[str, Any]
    versions: dict[str, str]


def save_kernel(
    path: str | os.PathLike,
    kernel: Array,
    *,
    outputs: str,
    wrt: str = "all",
    density: float = 1.0,
    **notes: Any,
) -> None:
    """Write a kernel as safetensors, all or nothing, with what is said of it as JSON.

    Args:
        path: The file; an old one is replaced.
        kernel: ``[n1, n2]``, or ``[n1, n2, C, C]`` in full or for a projection.
        outputs: ``"full"``, ``"trace"``, ``"sum"``, ``"class:k"`` or ``"projection"``.
        wrt: ``"all"``, ``"prunable"``, or words for another choice.
        density: The kept fraction of the prunable weights, 0 to 1.
        notes: Anything that JSON holds: network, data, seed.

    Raises:
        ValueError: for a kernel whose shape is not that of ``outputs``, or what JSON cannot hold.
    """
    values = np.ascontiguousarray(kernel)
    about = {"outputs": outputs, "wrt": wrt, "density": float(density), "notes": notes}
    about["versions"] = {name: importlib.metadata.version(name) for name in _PACKAGES}
    about["sha256"] = hashlib.sha256(values.data).hexdigest()
    _check(values, about)
    try:
        text = json.dumps(about, sort_keys=True)
    except TypeError as error:
        raise ValueError(f"notes must be what JSON holds: {error}") from None
    write_atomically(Path(path), save({_ABOUT: values}, {_ABOUT: text}))


def load_kernel(path: str | os.PathLike) -> SavedKernel:
    """What ``save_kernel`` wrote.

    Raises FileNotFoundError, or ValueError for a file that is damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {})[_ABOUT])
            values = file.get_tensor(_ABOUT)
        _check(values, about)
        if hashlib.sha256(values.data).hexdigest() != about.pop("sha256"):
            raise ValueError("its numbers are not those that were saved")
        return SavedKernel(values, **about)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or no saved kernel: {error}") from None


def _check(values: np.ndarray, about: dict[str, Any]) -> None:
    """Raise ValueError unless the kernel has the shape of its convention, and a density."""
    word, _, index = about["outputs"].partition(":")
    full = word in ("full", "projection")
    if not full and word not in ("trace", "sum") and not (word == "class" and index.isdigit()):
        raise ValueError(
            f"outputs must be full, trace, sum, class:k or projection, got {about['outputs']!r}"
        )
    shape, half = values.shape, values.ndim // 2
    twice = values.ndim >= 4 and shape[2 : half + 1] == shape[half + 1 :]
    if twice != full or not (full or values.ndim == 2):
        raise ValueError(f"a kernel with outputs {about['outputs']!r} has another shape: {shape}")
    if not 0 <= about["density"] <= 1:
        raise ValueError(f"density must lie in 0..1, got {about['density']}")


def check_name(path: str | os.PathLike) -> None:
    """Raise ValueError for the name of a file that is not ``.npy``."""
    if Path(path).suffix != ".npy":
        raise ValueError(f"out must name a .npy file, got {os.fspath(path)!r}")


def built_in_file(
    path: str | os.PathLike,
    shape: tuple[int, ...],
    dtype: np.dtype,
    build: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """The ``.npy`` file, mapped for reading, of the array ``[shape]`` that ``build`` fills; it has
    its name only once ``build`` has returned."""
    with replacing(Path(path)) as fresh:
        values = np.lib.format.open_memmap(fresh, mode="w+", dtype=dtype, shape=shape)
        build(values)
        values.flush()
    return np.load(path, mmap_mode="r")
