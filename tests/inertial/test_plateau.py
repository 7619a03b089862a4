"""The plateau rule on spectra made by hand."""

import numpy as np
import pytest

from ntk_prune.inertial.plateau import exact_tail, plateau, published_tail, smoothed_density

NODES, WEIGHTS = [-1.0, 0.25, 2.0], [0.4, 0.4, 0.2]


def test_two_clusters_give_the_exact_tail():
    result = plateau(exact_tail([-1.0, 0.05, 2.0], [0.5, 0.2, 0.3]))
    np.testing.assert_allclose(result.share, 0.3, rtol=1e-12)
    assert result.step == 0.1
    np.testing.assert_allclose(result.threshold, 0.4)  # three changes after the fall at 0.1


def test_a_fall_below_half_halves_the_step():
    result = plateau(exact_tail(NODES, WEIGHTS))
    np.testing.assert_allclose(result.share, 0.6, rtol=1e-12)  # the plateau before 0.25
    assert result.step == 0.05


def test_the_start_moves_the_plateau():
    np.testing.assert_allclose(plateau(exact_tail(NODES, WEIGHTS), start=0.5).share, 0.2)


def test_nothing_above_the_start():
    assert plateau(exact_tail([-2.0, -1.0], [0.5, 0.5])).share == 0


@pytest.mark.parametrize("tail", [exact_tail, published_tail])
def test_a_continuous_spectrum_ends_near_half(tail):
    result = plateau(tail(np.linspace(-1, 1, 4001), np.full(4001, 1 / 4001)))
    assert 0.25 <= result.share <= 0.5
    assert result.step < 0.1


def test_the_published_density_loses_mass_at_the_ends():
    share = plateau(published_tail([-1.0, -0.5, 2.0], [0.35, 0.35, 0.3])).share
    np.testing.assert_allclose(share, 0.3, atol=0.01)
    inner, outer = 10 * np.array([-1.0, 0.0, 2.0]), [0.3, 0.4, 0.3]
    share = published_tail(inner, outer)(10.0)
    half = 0.5 * (1 + 0.4363)  # erf of 0.01 / (2 * 1e-5 * 30.02)^0.5
    assert share < 0.3
    np.testing.assert_allclose(share, 0.3 * half / (0.4 + 0.6 * half), rtol=0.03)


def test_density_has_unit_mass():
    grid, density = smoothed_density([-1.0, 0.0, 3.0], [0.2, 0.5, 0.3])
    step = grid[1] - grid[0]
    np.testing.assert_allclose(density.sum() * step, 1, rtol=1e-12)
    assert len(grid) == 10_000
    np.testing.assert_allclose([grid[0], grid[-1]], [-1.01, 3.01])
    near = np.abs(grid) < 0.1
    variance = (density[near] * grid[near] ** 2).sum() / density[near].sum()
    np.testing.assert_allclose(variance, 1e-5 * 4.02, rtol=1e-3)
