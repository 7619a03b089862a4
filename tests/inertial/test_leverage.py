"""Coordinates of an eigenspace: identities and bounds on random symmetric matrices."""

import numpy as np
import pytest

from ntk_prune.inertial import leverage
from ntk_prune.inertial.leverage import captured, perturbation, slaving_slope, strong_rrqr

D, M = 14, 5


@pytest.fixture(scope="module")
def spectrum():
    a = np.random.default_rng(0).normal(size=(D, D))
    values, vectors = np.linalg.eigh(a + a.T)
    return a + a.T, values, vectors


def chosen(*coordinates):
    return np.isin(np.arange(D), coordinates)


def sines(vectors, kept):
    """Sines of the principal angles to the span of the kept coordinates."""
    cosines = np.linalg.svd(vectors[kept], compute_uv=False)
    return np.sqrt(np.maximum(0, 1 - cosines**2))


def test_fast_and_slow_rankings_are_reverses(spectrum):
    slow = leverage.leverage(spectrum[2][:, :M])
    fast = leverage.leverage(spectrum[2][:, M:])
    np.testing.assert_allclose(fast, 1 - slow, atol=1e-10)
    np.testing.assert_allclose(slow.sum(), M, atol=1e-10)
    assert np.argsort(slow).tolist() == np.argsort(-fast).tolist()


@pytest.mark.parametrize("size", [M, M + 3])
def test_angles_from_leverage(spectrum, size):
    slow = spectrum[2][:, :M]
    kept = chosen(*range(size))
    squares = np.square(sines(slow, kept)).sum()
    np.testing.assert_allclose(squares, M - leverage.leverage(slow)[kept].sum(), atol=1e-10)
    best = chosen(*np.argsort(-leverage.leverage(slow))[:size])
    assert captured(slow, best).share >= captured(slow, kept).share
    cosine = captured(slow, kept).smallest_cosine
    np.testing.assert_allclose(np.sqrt(1 - cosine**2), sines(slow, kept).max(), atol=1e-10)


def test_slaving_slope_is_the_tangent_of_the_largest_angle(spectrum):
    slow, kept = spectrum[2][:, :M], chosen(*range(M))
    sine = sines(slow, kept).max()
    np.testing.assert_allclose(slaving_slope(slow, kept), sine / np.sqrt(1 - sine**2), rtol=1e-9)
    assert slaving_slope(np.eye(D), chosen(*range(D))) == 0
    with pytest.raises(ValueError, match="6 coordinates of 5"):
        slaving_slope(slow, chosen(*range(6)))


def test_chance(spectrum):
    slow = spectrum[2][:, :M]
    rng = np.random.default_rng(1)
    sets = [captured(slow, chosen(*rng.choice(D, 4, replace=False))) for _ in range(2000)]
    shares = [c.share for c in sets]
    error = np.std(shares) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - sets[0].chance) < 4 * error
    assert sets[0].chance == 4 / D
    assert sets[0].smallest_cosine == 0  # fewer coordinates than directions


@pytest.mark.parametrize("f", [1.0, 2.0])
def test_rrqr_keeps_its_bound(spectrum, f):
    slow = spectrum[2][:, :M]
    kept = chosen(*strong_rrqr(slow.T, f))
    assert kept.sum() == M
    cosine = captured(slow, kept).smallest_cosine
    assert cosine >= 1 / np.sqrt(1 + f**2 * M * (D - M))
    volume = abs(np.linalg.det(slow[kept]))
    for out in np.flatnonzero(kept):
        for new in np.flatnonzero(~kept):
            other = chosen(new, *[i for i in np.flatnonzero(kept) if i != out])
            assert abs(np.linalg.det(slow[other])) <= f * volume * (1 + 1e-9)


def test_rrqr_where_pivoted_qr_fails():
    """Kahan's matrix: pivoted QR keeps its first columns, whose smallest singular value is tiny."""
    n, c = 40, 0.35
    s = np.sqrt(1 - c**2)
    upper = np.diag(s ** np.arange(n)) @ (np.eye(n) - c * np.triu(np.ones((n, n)), 1))
    rows = np.linalg.qr(upper[: n - 1].T)[0].T  # orthonormal rows, n - 1 of n columns to choose
    kept = np.isin(np.arange(n), strong_rrqr(rows, 1.0))
    cosine = captured(rows.T, kept).smallest_cosine
    assert cosine >= 1 / np.sqrt(1 + (n - 1)) - 1e-12


def test_rrqr_avoids_two_coordinates_of_one_direction():
    vectors = np.linalg.qr(np.array([[2, 2, 0.5, 0.1], [0.01, 0.0, 1, 0.1]]).T)[0]
    greedy = np.isin(np.arange(4), np.argsort(-leverage.leverage(vectors))[:2])
    kept = np.isin(np.arange(4), strong_rrqr(vectors.T))
    assert captured(vectors, kept).smallest_cosine >= captured(vectors, greedy).smallest_cosine
    with pytest.raises(ValueError, match="dependent"):
        strong_rrqr(np.ones((2, 4)))
    with pytest.raises(ValueError, match="at least 1"):
        strong_rrqr(np.eye(2, 4), 0.5)


def test_perturbation_bounds_the_true_angle():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(D, D)) * 0.05
    h = np.diag(np.concatenate([np.linspace(0, 0.5, M), np.linspace(2, 3, D - M)])) + a + a.T
    kept = chosen(*range(M))
    bounds = perturbation(h, kept)
    sine = sines(np.linalg.eigh(h)[1][:, :M], kept).max()
    theta = np.arcsin(sine)
    assert sine <= bounds.sine
    assert np.tan(2 * theta) <= bounds.tangent_of_double
    assert bounds.gap <= np.diff(np.linalg.eigvalsh(h))[M - 1] + 1e-12
    assert perturbation(-h, kept).tangent_of_double == np.inf


def test_slaved_quadratic_loses_nothing():
    rng = np.random.default_rng(4)
    a = rng.normal(size=(D, D))
    h, kept = a @ a.T + np.eye(D), chosen(*range(M))
    reduced = leverage.schur_complement(h, kept)
    w = rng.normal(size=M)
    rest = -np.linalg.solve(h[~kept][:, ~kept], h[~kept][:, kept] @ w)
    whole = np.zeros(D)
    whole[kept], whole[~kept] = w, rest
    np.testing.assert_allclose(w @ reduced @ w, whole @ h @ whole, rtol=1e-10)
