"""How close random kernels are to their limit, and what width that takes at which density."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Moments of ``n`` independent kernels, each with its standard error ``_sem``.

    ``mad`` is the mean absolute deviation ``E |Theta - limit|`` from the limit, not from the mean.
    """

    mean: float
    sem: float
    mad: float
    mad_sem: float
    variance: float
    variance_sem: float
    n: int


def moments(values: np.ndarray, limit: float) -> Moments:
    """``Moments`` of independent ``values [n]`` around ``limit``.

    Raises:
        ValueError: fewer than two values, which have no standard error.

    >>> e = moments(np.array([1.0, 3.0]), limit=1.0)
    >>> e.mean, e.mad, e.variance, e.n
    (2.0, 1.0, 2.0, 2)
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if n < 2:
        raise ValueError(f"a standard error needs at least 2 values, got {n}")
    deviations = np.abs(values - limit)
    variance = values.var(ddof=1)
    fourth = np.mean((values - values.mean()) ** 4)
    spread = max(0.0, fourth - variance**2 * (n - 3) / (n - 1))
    return Moments(
        mean=float(values.mean()),
        sem=float(np.sqrt(variance / n)),
        mad=float(deviations.mean()),
        mad_sem=float(deviations.std(ddof=1) / np.sqrt(n)),
        variance=float(variance),
        variance_sem=float(np.sqrt(spread / n)),
        n=n,
    )


class WidthLaw(NamedTuple):
    """The width that a mean absolute deviation takes, against the density; 95 % intervals.

    exponent: ``gamma`` of ``width ~ density^-gamma``, with its interval.
    required_widths: ``[A]`` per density, with their intervals ``[A, 2]``.
    rates: ``[A]``, ``b`` of ``MAD ~ width^-b`` per density.
    """

    exponent: float
    exponent_interval: tuple[float, float]
    required_widths: np.ndarray
    required_widths_interval: np.ndarray
    rates: np.ndarray


def width_law(
    deviations: np.ndarray,
    densities: Sequence[float],
    widths: Sequence[int],
    level: float,
    num_resamples: int = 1000,
    seed: int = 0,
) -> WidthLaw:
    """The empirical law of the width that is needed for a mean absolute deviation of ``level``.

    For every density ``log MAD = a - b log(width)`` is fitted by least squares over the widths and
    solved for the width at which the MAD is ``level``; ``-gamma`` is the least-squares slope of the
    logarithm of that width against the logarithm of the density. The intervals are percentiles of
    the bootstrap that draws the networks of every cell anew, with replacement.

    Args:
        deviations: ``|Theta - limit|``, ``[densities, widths, networks]``.
        densities: Kept fractions, at least two.
        widths: Widths, at least two.
        level: The deviation to be reached; best within the range of the measured ones.
        num_resamples: Bootstrap replicates.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: shapes that do not fit, too few densities or widths for a slope, or too few
            networks for the deviation to fall with the width.
    """
    deviations = np.asarray(deviations, np.float64)
    if deviations.ndim != 3 or deviations.shape[:2] != (len(densities), len(widths)):
        raise ValueError(
            f"deviations must be [{len(densities)} densities, {len(widths)} widths, networks],"
            f" got {deviations.shape}"
        )
    if min(len(densities), len(widths)) < 2:
        raise ValueError("a slope needs at least 2 densities and 2 widths")
    log_required, rates = _log_required_widths(deviations.mean(-1), widths, level)
    again = _resampled_means(deviations, num_resamples, np.random.default_rng(seed))
    log_required_again, rates_again = _log_required_widths(again, widths, level)
    if min(rates.min(), np.percentile(rates_again, 2.5)) <= 0:
        raise ValueError("the deviation does not fall with the width: take more networks or widths")
    exponents = _exponents(log_required_again, densities)
    low, high = np.percentile(exponents, [2.5, 97.5])
    return WidthLaw(
        exponent=float(_exponents(log_required, densities)),
        exponent_interval=(float(low), float(high)),
        required_widths=np.exp(log_required),
        required_widths_interval=np.exp(np.percentile(log_required_again, [2.5, 97.5], axis=0).T),
        rates=rates,
    )


def _log_required_widths(
    mad: np.ndarray, widths: Sequence[int], level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Log widths ``[..., A]`` that reach ``level``, and rates ``b``, from ``mad [..., A, W]``."""
    log_mad = np.log(mad)
    log_width = np.log(np.asarray(widths, np.float64))
    rate = -_slope(log_width, log_mad)
    intercept = log_mad.mean(-1) + rate * log_width.mean()
    return (intercept - np.log(level)) / rate, rate


def _exponents(log_required: np.ndarray, densities: Sequence[float]) -> np.ndarray:
    return -_slope(np.log(np.asarray(densities, np.float64)), log_required)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slopes of ``y [..., k]`` against ``x [k]``."""
    centred = x - x.mean()
    return y @ centred / (centred @ centred)


def _resampled_means(values: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Means ``[number, A, W]`` of bootstrap samples of the last axis, independent in every cell."""
    n = values.shape[-1]
    counts = rng.multinomial(n, np.full(n, 1 / n), size=(number, *values.shape[:-1]))
    return np.einsum("rawn,awn->raw", counts, values) / n
