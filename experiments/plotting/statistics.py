"""Means over a handful of seeds, and differences on the same seeds."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats


def mean_interval(values: Iterable[float], level: float = 0.95) -> tuple[float, float | None, int]:
    """``(mean, half_width, n)`` with half_width = t_{(1+level)/2, n-1} s / sqrt(n).

    Student's t, because for three seeds a bootstrap or one standard error covers far less than
    ``level``. One value has no interval: its half width is None. Raises ValueError on no values.

    >>> mean_interval([0.0])
    (0.0, None, 1)
    """
    x = np.asarray(list(values), np.float64)
    n = x.size
    if n == 0:
        raise ValueError("the mean of no values")
    if n == 1:
        return float(x[0]), None, 1
    quantile = stats.t.ppf((1 + level) / 2, n - 1)
    return float(x.mean()), float(quantile * x.std(ddof=1) / np.sqrt(n)), n


class Difference(NamedTuple):
    """The mean of paired differences, its half width, their number, and the p-value of no mean.

    ``half_width`` is None for one pair; ``p_value`` is None for one pair, and where all differences
    are equal: a test needs some spread.
    """

    mean: float
    half_width: float | None
    n: int
    p_value: float | None


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """``a - b`` pair by pair: Student-t interval (95 %) and two-sided t-test of its mean.

    Raises ValueError on no pairs or sequences of different lengths.

    >>> paired_difference([0.5], [0.25])
    Difference(mean=0.25, half_width=None, n=1, p_value=None)
    """
    x = np.array([first - second for first, second in zip(a, b, strict=True)])
    mean, half_width, n = mean_interval(x)
    rounding = 1e-12 * np.abs([*a, *b]).max()
    if n == 1 or np.ptp(x) <= rounding:
        return Difference(mean, half_width, n, None)
    test: Any = stats.ttest_1samp(x, 0.0)
    return Difference(mean, half_width, n, float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted by Holm's step-down procedure: below alpha, all are errors with at most that chance.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
