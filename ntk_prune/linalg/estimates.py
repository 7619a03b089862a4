"""Results of random probes, each with its standard error and the number of probes."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ntk_prune.types import Array


class Estimate(NamedTuple):
    """A stochastic estimate: ``value`` +- ``sem`` (one standard error) from ``n`` samples.

    Few samples may agree by chance: then ``sem`` is 0 although the value is not exact.
    """

    value: float
    sem: float
    n: int

    def half_width(self, level: float = 0.95) -> float:
        """Half the Student-t interval, ``t_((1 + level) / 2, n - 1) sem``: one standard error of a
        few samples covers far less than its normal share.

        >>> round(Estimate(1.0, 0.1, 6).half_width(), 3)
        0.257
        """
        return _half_width(self.sem, self.n, level)


class VectorEstimate(NamedTuple):
    """``value [...]`` with its standard errors ``sem [...]``, entry by entry, from ``n`` samples.

    The entries share their samples, so their errors are not independent.
    """

    value: np.ndarray
    sem: np.ndarray
    n: int

    def half_width(self, level: float = 0.95) -> np.ndarray:
        """Half the Student-t interval of every entry by itself."""
        return _half_width(self.sem, self.n, level)


def _half_width(sem: Any, n: int, level: float) -> Any:
    from scipy import stats  # slow to import

    return float(stats.t.ppf((1 + level) / 2, n - 1)) * sem


def sample_mean(samples: list[float]) -> Estimate:
    """The mean of independent ``samples``, at least 2, with its standard error.

    >>> sample_mean([1.0, 3.0])
    Estimate(value=2.0, sem=1.0, n=2)
    """
    n = len(samples)
    check_probes(n)
    return Estimate(float(np.mean(samples)), float(np.std(samples, ddof=1) / np.sqrt(n)), n)


def array_mean(samples: Iterable[Array]) -> VectorEstimate:
    """The mean of independent arrays, at least 2, with its standard errors, in one pass that holds
    one of them at a time (Welford, 1962): kernels of an ensemble of networks, products of probes.

    Raises ValueError for arrays of different shapes, or fewer than two.

    >>> array_mean(np.array([i, 1.0]) for i in (1.0, 3.0))
    VectorEstimate(value=array([2., 1.]), sem=array([1., 0.]), n=2)
    """
    mean, squares, count = np.zeros(()), np.zeros(()), 0  # squared deviations from running means
    for count, values in enumerate(samples, start=1):
        sample = np.asarray(values, np.float64)
        if count > 1 and sample.shape != mean.shape:
            raise ValueError(f"samples differ in shape: {mean.shape} and {sample.shape}")
        change = sample - mean
        mean = mean + change / count
        squares = squares + change * (sample - mean)
    if count < 2:
        raise ValueError(f"a standard error needs at least 2 samples, got {count}")
    return VectorEstimate(mean, np.sqrt(squares / (count - 1) / count), count)


def check_probes(num_probes: int, least: int = 2) -> None:
    """Raise ValueError for fewer than ``least`` probes."""
    if num_probes < least:
        raise ValueError(f"a standard error needs at least {least} probes, got {num_probes}")
