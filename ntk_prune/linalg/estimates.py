"""Results of random probes, each with its standard error and the number of probes."""

from typing import Any, NamedTuple

import numpy as np


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
    """``value [size]`` with its standard errors ``sem [size]``, entry by entry, from ``n`` probes.

    The entries share their probes, so their errors are not independent.
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


def check_probes(num_probes: int, least: int = 2) -> None:
    """Raise ValueError for fewer than ``least`` probes."""
    if num_probes < least:
        raise ValueError(f"a standard error needs at least {least} probes, got {num_probes}")
