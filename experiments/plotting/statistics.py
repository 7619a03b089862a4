"""Means over a handful of seeds."""

from collections.abc import Iterable

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
