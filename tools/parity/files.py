"""Reference files: their arrays, and how two arrays are compared."""

import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Pairs = list[tuple[np.ndarray, np.ndarray]]
"""(ours, reference), to be compared each on its scale; none if the file does not have it."""
Jobs = Sequence[Callable[[], dict[str, Pairs]]]
"""Computations, each of the quantities that it returns by the file's names."""


class Arrays(dict[str, np.ndarray]):
    """A file's arrays; asking for one that is missing is an error to show, not a bug here."""

    def __missing__(self, name: str) -> np.ndarray:
        raise ValueError(f"the file has no {name}")

    def below(self, prefix: str) -> "Arrays":
        """The arrays called ``prefix/<name>``, by ``<name>``."""
        start = f"{prefix}/"
        return Arrays({k.removeprefix(start): v for k, v in self.items() if k.startswith(start)})

    def beside(self, ours: dict[str, Any], prefix: str) -> dict[str, Pairs]:
        """Our numbers ``{name: array}`` with the file's ``prefix/<name>``, as many as it has."""
        named = {f"{prefix}/{name}": np.asarray(array) for name, array in ours.items()}
        return {name: [(array, self[name])] for name, array in named.items() if name in self}


def read(path: str) -> Arrays:
    """The arrays of an .npz file. Raises ValueError or OSError with one clear line."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Arrays(file)
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"not an .npz file: {error}") from None
    except TypeError:
        raise ValueError("a single array, not an .npz file") from None


def quantity_of(name: str) -> str:
    """The quantity that an array belongs to: the tensors ``<quantity>/<layer>.<leaf>`` are one.

    >>> quantity_of("snip/blocks.0.conv1.weight"), quantity_of("sam0.5/step1/loss")
    ('snip', 'sam0.5/step1/loss')
    """
    quantity, _, tensor = name.rpartition("/")
    return quantity if quantity and "." in tensor else name


def max_error(pairs: Pairs) -> float:
    """The largest ``error`` of the pairs."""
    return max((error(ours, reference) for ours, reference in pairs), default=0.0)


def error(ours: np.ndarray, reference: np.ndarray) -> float:
    """``max |ours - reference| / max |reference|``, without the divisor for integers and booleans;
    NaN gives inf.

    >>> error(np.array([1.0, 4.1]), np.array([1.0, 4.0])) < 0.0251
    True
    >>> error(np.array([1, 5]), np.array([1, 4]))
    1.0
    """
    if ours.shape != reference.shape:
        raise ValueError(f"an array of shape {reference.shape} where {ours.shape} belongs")
    exact = reference.dtype.kind in "biu"
    difference = np.abs(ours.astype(np.float64) - reference).max(initial=0.0)
    if np.isnan(difference):
        return np.inf
    scale = 1.0 if exact or not difference else np.abs(reference).max()
    return float(difference / scale) if scale else np.inf
