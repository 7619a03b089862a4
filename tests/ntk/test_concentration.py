"""Estimates around a limit, and the law of the required width on data made for it."""

import numpy as np
import pytest

from ntk_prune.ntk.concentration import moments, width_law

DENSITIES = (1.0, 0.5, 0.25, 0.125)
WIDTHS = (128, 256, 512, 1024)


def deviations(exponent, n, rate=0.5, seed=0):
    """``|N(0, s^2)|`` with ``s = (width * density^exponent)^-rate``, ``[A, W, n]``."""
    scale = np.outer(np.power(DENSITIES, exponent), WIDTHS)[..., None] ** -rate
    return np.abs(np.random.default_rng(seed).standard_normal((len(DENSITIES), 4, n))) * scale


def test_estimate_by_hand():
    e = moments(np.array([1.0, 2.0, 6.0]), limit=2.0)
    assert (e.mean, e.n) == (3.0, 3)
    assert e.variance == pytest.approx(7.0)
    assert e.sem == pytest.approx(np.sqrt(7 / 3))
    assert e.mad == pytest.approx(5 / 3)
    assert e.mad_sem == pytest.approx(np.std([1, 0, 4], ddof=1) / np.sqrt(3))


def test_standard_errors_are_those_of_repetition():
    rng = np.random.default_rng(0)
    each = [moments(rng.standard_normal(50) + 1, limit=1.0) for _ in range(2000)]
    for name in ("mean", "mad", "variance"):
        spread = np.std([getattr(e, name) for e in each])
        error = "sem" if name == "mean" else f"{name}_sem"
        assert np.mean([getattr(e, error) for e in each]) == pytest.approx(spread, rel=0.1)
    assert np.mean([e.mad for e in each]) == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)


def test_estimate_needs_two():
    with pytest.raises(ValueError, match="at least 2"):
        moments(np.ones(1), 1.0)


def test_law_without_noise_is_exact():
    constant = deviations(0.7, 1)
    constant = constant / constant * np.outer(np.power(DENSITIES, 0.7), WIDTHS)[..., None] ** -0.5
    law = width_law(constant, DENSITIES, WIDTHS, level=0.05, num_resamples=10)
    assert law.exponent == pytest.approx(0.7)
    np.testing.assert_allclose(law.rates, 0.5)
    np.testing.assert_allclose(law.required_widths, 400 / np.power(DENSITIES, 0.7))
    np.testing.assert_allclose(law.exponent_interval, (0.7, 0.7))


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_interval_covers_the_exponent(exponent):
    laws = [
        width_law(deviations(exponent, 200, seed=s), DENSITIES, WIDTHS, 0.05, num_resamples=200)
        for s in range(20)
    ]
    covered = sum(low <= exponent <= high for low, high in (law.exponent_interval for law in laws))
    assert covered >= 16  # 19 on average
    assert all(high - low < 0.4 for low, high in (law.exponent_interval for law in laws))


def test_noise_is_no_law():
    constant = np.ones((4, 4, 3)) + deviations(0, 3, rate=0)
    with pytest.raises(ValueError, match="more networks"):
        width_law(constant, DENSITIES, WIDTHS, 0.05)


def test_bad_shapes():
    with pytest.raises(ValueError, match="4 densities, 3 widths"):
        width_law(deviations(1, 5), DENSITIES, WIDTHS[:3], 0.05)
    with pytest.raises(ValueError, match="at least 2"):
        width_law(deviations(1, 5)[:1], DENSITIES[:1], WIDTHS, 0.05)
