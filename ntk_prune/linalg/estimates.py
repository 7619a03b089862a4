"""Results of random probes, each with its standard error and the number of probes."""

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A stochastic estimate: ``value`` +- ``sem`` (one standard error) from ``n`` samples."""

    value: float
    sem: float
    n: int


class VectorEstimate(NamedTuple):
    """``value [size]`` with its standard errors ``sem [size]``, entry by entry, from ``n`` probes.

    The entries share their probes, so their errors are not independent.
    """

    value: np.ndarray
    sem: np.ndarray
    n: int


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
