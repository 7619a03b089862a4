"""Student-t intervals."""

import numpy as np
import pytest

from experiments.plotting.statistics import mean_interval


def test_three_values_use_the_textbook_quantile():
    mean, half_width, n = mean_interval([1.0, 2.0, 3.0])
    assert (mean, n) == (2.0, 3)
    assert half_width == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)  # t_{0.975, 2}, s = 1


def test_level_selects_the_quantile():
    _, half_width, _ = mean_interval([1.0, 2.0, 3.0], level=0.9)
    assert half_width == pytest.approx(2.919986 / np.sqrt(3), rel=1e-6)  # t_{0.95, 2}


def test_one_value_has_no_interval():
    assert mean_interval([0.5]) == (0.5, None, 1)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])


def test_covers_the_mean_as_often_as_it_says():
    samples = np.random.default_rng(0).normal(size=(4000, 3))
    covered = [abs(mean) < half for mean, half, _ in map(mean_interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
