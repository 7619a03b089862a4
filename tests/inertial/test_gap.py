"""Gap conditions, slopes and certificates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune.inertial import gap, systems


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def test_admissible_dimensions():
    values = [-0.5, -0.1, 0.0, 1.0, 1.3, 3.0]
    dims = gap.admissible(values, 0.1)
    assert dims.gap.tolist() == [1, 3, 4, 5]
    assert dims.attracting.tolist() == [3, 4, 5]  # m = 1 leaves a negative eigenvalue fast
    assert gap.admissible(values, 0.1, gap.CONSTANTS["triangle"]).gap.tolist() == [3, 5]
    assert gap.admissible(values, 0.1, gap.CONSTANTS["orthogonal"]).gap.tolist() == [1, 3, 4, 5]
    assert gap.admissible(values, 2.0).gap.size == 0


def test_admissible_at_the_upper_end_counts_what_lies_below():
    values = np.sort(np.random.default_rng(0).normal(size=30))
    whole = gap.admissible(values, 0.05)
    upper = gap.admissible(values[20:], 0.05, below=20)
    assert upper.gap.tolist() == [m for m in whole.gap if m > 20]
    assert upper.attracting.tolist() == [m for m in whole.attracting if m > 20]


def test_larger_constants_admit_less():
    values = np.sort(np.random.default_rng(1).normal(size=50))
    sets = [set(gap.admissible(values, 0.02, c).gap.tolist()) for c in gap.CONSTANTS.values()]
    assert sets[2] <= sets[1] <= sets[0]
    assert len(sets[2]) < len(sets[0])


def test_bad_spectra():
    with pytest.raises(ValueError, match="ascending"):
        gap.admissible([1.0, 0.0], 0.1)
    with pytest.raises(ValueError, match="at least 0"):
        gap.admissible([0.0, 1.0], -0.1)


def test_slope_is_the_smallest_invariant_cone():
    g, lipschitz = 2.0, 0.4393
    l = gap.slope(g, lipschitz)
    np.testing.assert_allclose(l + 1 / l, g / lipschitz, rtol=1e-12)
    np.testing.assert_allclose(l, 0.2314, atol=5e-5)
    np.testing.assert_allclose(gap.slope(1.0, 1e-8), 1e-8, rtol=1e-6)
    pq, qp = 0.2, 0.4
    l = gap.blockwise_slope(g, 0.1, pq, qp, 0.2)
    np.testing.assert_allclose(pq * l**2 - (g - 0.3) * l + qp, 0, atol=1e-12)
    assert np.isnan(gap.blockwise_slope(g, 1.0, 0.5, 0.6, 0.0))


def test_momentum_hides_gaps_above_its_threshold():
    lr, beta = 0.1, 0.9
    threshold = gap.momentum_threshold(lr, beta)
    inside = np.array([1.001 * threshold, 1.0, 0.999 * (1 + beta**0.5) ** 2 / lr])
    np.testing.assert_allclose(gap.heavy_ball_modulus(inside, lr, beta), beta**0.5, rtol=1e-12)
    assert gap.heavy_ball_modulus([0.9 * threshold], lr, beta)[0] > beta**0.5 + 1e-3
    np.testing.assert_allclose(threshold, 0.0263, atol=5e-5)
    step = np.array([[1 + beta - lr * 0.02, -beta], [1, 0]])
    modulus = np.abs(np.linalg.eigvals(step)).max()
    np.testing.assert_allclose(gap.heavy_ball_modulus([0.02], lr, beta), modulus, rtol=1e-12)


def test_exit_time():
    assert gap.exit_time(0.01, 0.5) == 0.02
    assert gap.exit_time(0.01, 0.0) == np.inf


def ball(radius, count=41):
    """A grid of the disc of ``radius``, its centre and rim included."""
    side = np.linspace(-radius, radius, count)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    angles = np.linspace(0, 2 * np.pi, 721)
    rim = radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    return jnp.asarray(np.concatenate([grid[np.hypot(*grid.T) <= radius], rim]))


def two_weights_hessians(radius):
    system = systems.two_weights(1.0)
    return system, -jax.vmap(jax.jacfwd(system.velocity))(ball(radius))


@pytest.mark.parametrize(("radius", "holds"), [(0.1, True), (0.3, True), (0.5, False)])
def test_certificate_of_the_two_weight_network(radius, holds):
    system, hessians = two_weights_hessians(radius)
    slow, fast = system.vectors[:, :1], system.vectors[:, 1:]
    result = gap.certificate(hessians, slow, fast)
    assert result.holds is holds
    assert result.num_points == len(hessians)
    if radius == 0.3:
        np.testing.assert_allclose(result[:2], (0.379, 0.862), atol=1e-3)
        centre = -jax.jacfwd(system.velocity)(jnp.zeros(2))
        spread = np.linalg.eigvalsh(hessians - centre[None])
        assert 2 * np.abs(spread).max() > 2.0  # the Lipschitz condition fails where this holds


def test_certificate_forbids_crossing_the_cone():
    system = systems.two_weights(1.0)
    slow, fast = np.asarray(system.vectors[:, 0]), np.asarray(system.vectors[:, 1])
    rng = np.random.default_rng(0)
    crossings = entries = 0
    for _ in range(6):
        pair = rng.normal(size=(2, 2)) * 0.1
        times = np.linspace(0, 3, 200)
        a, b = (systems.flow(system.velocity, v, times) for v in pair)
        inside = np.abs((a - b) @ fast) <= np.abs((a - b) @ slow)
        crossings += int((inside[:-1] & ~inside[1:]).sum())
        entries += int((~inside[:-1] & inside[1:]).sum())
    assert crossings == 0
    assert entries > 0


def test_interlacing_bounds_the_coordinate_gap():
    rng = np.random.default_rng(2)
    h = rng.normal(size=(12, 12))
    h = h + h.T
    values = np.linalg.eigvalsh(h)
    for m in (1, 5, 9):
        kept = np.isin(np.arange(12), rng.choice(12, m, replace=False))
        result = gap.coordinate_certificate(h[None], kept)
        assert result.beta - result.alpha <= values[m] - values[m - 1] + 1e-12


def test_explanations():
    values = [-0.5, -0.1, 0.0, 1.0]
    some = gap.admissible(values, 0.2)
    assert gap.explain(some, values) == "admissible dimensions: 3"
    assert "momentum contracts both sides of 1" in gap.explain(some, values, momentum_from=0.03)
    assert "none attracts" in gap.explain(gap.admissible([-2.0, -1.0, -0.9], 0.1), [-2, -1, -0.9])
    assert "widest being 1" in gap.explain(gap.admissible(values, 5.0), values)
