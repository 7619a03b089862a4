"""Reference files: their arrays, and how two arrays are compared."""

import zipfile
from collections.abc import Callable, Iterable

import numpy as np

Pairs = Iterable[tuple[np.ndarray, np.ndarray]]
"""(ours, reference), to be compared each on its scale."""
Quantities = dict[str, Callable[[], Pairs] | None]
"""What to compute for each quantity of a file; None for one that nothing here computes."""


class Arrays(dict[str, np.ndarray]):
    """A file's arrays; asking for one that is missing is an error to show, not a bug here."""

    def __missing__(self, name: str) -> np.ndarray:
        raise ValueError(f"the file has no {name}")

    def below(self, prefix: str) -> "Arrays":
        """The arrays called ``prefix/<name>``, by ``<name>``."""
        start = f"{prefix}/"
        return Arrays({k.removeprefix(start): v for k, v in self.items() if k.startswith(start)})


def read(path: str) -> Arrays:
    """The arrays of an .npz file. Raises ValueError or OSError with one clear line."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return Arrays(file)
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"not an .npz file: {error}") from None
    except TypeError:
        raise ValueError("a single array, not an .npz file") from None


def error(ours: np.ndarray, reference: np.ndarray) -> float:
    """``max |ours - reference| / max |reference|``, without the divisor for integers and booleans;
    NaN gives inf.

    >>> error(np.array([1.0, 4.1]), np.array([1.0, 4.0])) < 0.0251
    True
    >>> error(np.array([1, 5]), np.array([1, 4]))
    1.0
    """
    ours, reference = np.asarray(ours), np.asarray(reference)
    if ours.shape != reference.shape:
        raise ValueError(f"an array of shape {reference.shape} where {ours.shape} belongs")
    exact = reference.dtype.kind in "biu"
    difference = np.abs(np.subtract(ours, reference, dtype=np.float64)).max(initial=0.0)
    if np.isnan(difference):
        return np.inf
    scale = 1.0 if exact or not difference else np.abs(reference).max()
    return float(difference / scale) if scale else np.inf


def max_error(pairs: Pairs) -> float:
    """The largest ``error`` of the pairs."""
    return max(error(ours, reference) for ours, reference in pairs)
