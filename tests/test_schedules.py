"""Density schedules: their ends, their direction, and what each round removes."""

import itertools

import numpy as np
import pytest

from ntk_prune.schedules import SCHEDULES, exponential, linear


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("density", [1.0, 0.3, 0.01])
@pytest.mark.parametrize("rounds", [1, 2, 7, 100])
def test_ends_at_the_density_and_never_rises(name, density, rounds):
    path = [SCHEDULES[name](t, rounds, density) for t in range(1, rounds + 1)]
    assert path[-1] == pytest.approx(density, rel=1e-12)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(path))
    assert all(density - 1e-12 <= d <= 1.0 for d in path)


def test_exponential_removes_the_same_fraction_each_round():
    path = np.array([1.0, *(exponential(t, 5, 0.05) for t in range(1, 6))])
    np.testing.assert_allclose(path[1:] / path[:-1], 0.05**0.2)


def test_linear_removes_the_same_number_each_round():
    path = np.array([1.0, *(linear(t, 5, 0.05) for t in range(1, 6))])
    np.testing.assert_allclose(np.diff(path), -0.19)
