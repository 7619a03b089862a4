"""Manifolds of systems whose manifolds are known, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune.inertial import gap, manifold, systems
from ntk_prune.inertial.lyapunov_perron import cut_off, lyapunov_perron

A, B, C = 0.3, 2.0, 1.5


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def point(x):
    return jnp.array([x, 0.0])


def parabola(v):
    return jnp.stack([jnp.zeros(()), C * v[0] ** 2 / (B - 2 * A)])


def test_quadratic_manifold_is_invariant_and_tracked_at_the_rate_b():
    system = systems.quadratic(A, B, C)
    for x in (-1.3, 0.2, 2.0):
        residual = manifold.invariance_residual(system.split(1), parabola, point(x))
        np.testing.assert_allclose(residual, 0, atol=1e-12)
    times = np.linspace(0, 4, 5)
    x, y = systems.flow(system.velocity, [1.0, -0.7], times).T
    distance = y - C * x**2 / (B - 2 * A)
    np.testing.assert_allclose(distance, distance[0] * np.exp(-B * times), atol=1e-11)


def test_quadratic_dynamic_orders_are_a_geometric_series():
    split = systems.quadratic(A, B, C).split(1)
    exact = float(parabola(point(1.0))[1])
    graphs = [jax.jit(manifold.dynamic(split, j)) for j in range(5)]
    errors = [exact - float(phi(point(1.0))[1]) for phi in graphs]
    ratios = np.array(errors[1:]) / np.array(errors[:-1])
    np.testing.assert_allclose(ratios, 2 * A / B, atol=1e-10)


def test_resonance_leaves_a_logarithm():
    system = systems.quadratic(A, 2 * A, C)

    def graph(v):
        return jnp.stack([jnp.zeros(()), -(C / A) * v[0] ** 2 * jnp.log(jnp.abs(v[0]))])

    residual = manifold.invariance_residual(system.split(1), graph, point(0.4))
    np.testing.assert_allclose(residual, 0, atol=1e-12)


def test_lyapunov_perron_finds_the_parabola():
    q = lyapunov_perron(systems.quadratic(A, B, C), 1, point(1.0), num_points=12001)
    np.testing.assert_allclose(q[1], parabola(point(1.0))[1], rtol=2e-6)


def test_lyapunov_perron_needs_a_gap():
    with pytest.raises(ValueError, match="no gap"):
        lyapunov_perron(systems.quadratic(1.0, 1.0, C), 1, point(1.0))
    with pytest.raises(FloatingPointError, match="too small"):
        lyapunov_perron(systems.two_weights(1.0), 1, slow_and_fast(5.0)[0], max_iterations=20)


def test_cut_off_does_not_expand():
    u, v = jax.random.normal(jax.random.key(0), (2, 200, 3))
    moved = jax.vmap(lambda a: cut_off(a, 0.5))
    before, after = jnp.linalg.norm(u - v, axis=1), jnp.linalg.norm(moved(u) - moved(v), axis=1)
    assert (after <= before + 1e-12).all()
    assert cut_off(jnp.zeros(3), 0.5).tolist() == [0, 0, 0]


def test_two_weights_flow_to_the_closed_form():
    system, start = systems.two_weights(1.0), jnp.array([1.7, 0.9])
    path = systems.flow(system.velocity, start - 1.0, [0.0, 5.0, 30.0]) + 1.0
    np.testing.assert_allclose(path[-1], systems.two_weights_limit(1.0, 1.7, 0.9), atol=1e-8)
    conserved = path[:, 0] ** 2 - path[:, 1] ** 2
    np.testing.assert_allclose(conserved, conserved[0], atol=1e-12)
    np.testing.assert_allclose(system.rates, [0, 2], atol=1e-12)


def slow_and_fast(p):
    """A point with ``(u - v) / sqrt 2 = p`` and the direction of ``(u + v) / sqrt 2``."""
    return jnp.array([p, -p]) / np.sqrt(2), jnp.ones(2) / np.sqrt(2)


def test_two_weights_steady_manifold_is_the_curve_of_minima():
    split = systems.two_weights(1.0).split(1)
    p, q = slow_and_fast(0.4)
    exact = systems.two_weights_graph(1.0, 0.4)
    np.testing.assert_allclose(manifold.steady(split)(p) @ q, exact, atol=1e-6)
    recorded = [0.056569, 0.055392, 0.055487, 0.055480]
    orders = [float(manifold.order(split, j)(p) @ q) for j in (1, 2, 3, 4)]
    np.testing.assert_allclose(orders, recorded, atol=5e-7)
    assert float(manifold.order(split, 0)(p) @ q) == 0
    residual = manifold.invariance_residual(split, manifold.order(split, 40), p)
    np.testing.assert_allclose(residual, 0, atol=1e-12)


def test_two_weights_slope_is_within_its_bound():
    true = [2**-0.5 * r for r in (0.01, 0.1, 0.3)]
    recorded = [0.0071, 0.0705, 0.2075]
    slopes = [r / np.sqrt(2 + r**2) for r in (0.01, 0.1, 0.3)]
    np.testing.assert_allclose(slopes, recorded, atol=6e-5)
    assert true[0] > slopes[0]
    for lipschitz, s in zip((0.0426, 0.4393), slopes, strict=False):
        assert s <= gap.slope(2.0, lipschitz)


def test_coupled_flow_approaches_its_graph_with_a_quadratic_error():
    a, b, k = 0.2, 3.0, 1.0
    split = systems.coupled(a, b, k).split(1)
    exact = k / (2 * (b - 2 * a))
    phi = jax.jit(manifold.dynamic(split, 4))
    # The order leaves a relative error (2 a / b)^4 = 3e-4, the same for every x.
    ratios = np.array([float(phi(point(x))[1]) / x**2 for x in (0.4, 0.2, 0.1, 0.001)])
    np.testing.assert_allclose(ratios[-1], exact, rtol=5e-4)
    errors = ratios[-1] - ratios[:-1]
    np.testing.assert_allclose(errors[:-1] / errors[1:], 4, rtol=0.1)
    fmt = manifold.order(split, 1)(point(0.01))
    np.testing.assert_allclose(fmt[1] / 1e-4, k / (2 * b), rtol=1e-3)


def test_coupled_flow_measured_along_a_trajectory():
    system = systems.coupled(0.2, 3.0, 1.0)
    path = systems.flow(system.velocity, [1.0, 0.4], np.linspace(0, 20, 4001))
    for x, recorded in ((0.4, 0.18740), (0.2, 0.19100), (0.1, 0.19197)):
        nearest = path[np.abs(path[:, 0] - x).argmin()]
        np.testing.assert_allclose(nearest[1] / nearest[0] ** 2, recorded, atol=2e-5)


@pytest.mark.parametrize(("s", "attracts"), [(0.49, True), (0.51, False)])
def test_the_constant_two_is_sharp(s, attracts):
    a, b = 1.0, 2.0
    slow, fast = (-systems.failing_gap(a, b, s).velocity(jnp.ones(2))).tolist()
    np.testing.assert_allclose([slow, fast], [a + s, b - s], rtol=1e-15)
    assert (fast > slow) is attracts
    assert (len(gap.admissible([a, b], s).gap) == 1) is attracts


@pytest.mark.parametrize("sigma", [(3.0, 1.5, 0.5), (2.0, 1.0, 0.0)])
def test_two_layer_linear_spectrum(sigma):
    system = systems.two_layer_linear(sigma, hidden=4)
    pairs = np.sort([a + b for a in sigma for b in sigma])
    zeros = np.zeros(24 - 9)
    np.testing.assert_allclose(system.rates, np.sort([*pairs, *zeros]), atol=1e-8)
    np.testing.assert_allclose(jnp.linalg.norm(system.velocity(jnp.zeros(24))), 0, atol=1e-12)


def test_two_layer_linear_conserves_its_imbalance():
    system = systems.two_layer_linear((3.0, 1.5, 0.5), hidden=4)
    w1 = jnp.zeros((4, 3)).at[:3].set(jnp.diag(jnp.sqrt(jnp.array([3.0, 1.5, 0.5]))))
    minimum = jnp.concatenate([w1.ravel(), w1.T.ravel()])
    start = 0.2 * jax.random.normal(jax.random.key(0), (24,))
    path = systems.flow(system.velocity, start, [0.0, 1.0, 4.0])

    def imbalance(v):
        first, second = systems.two_layers(minimum + v, 3, 4)
        return first @ first.T - second.T @ second

    first = imbalance(path[0])
    for v in path[1:]:
        np.testing.assert_allclose(imbalance(v), first, atol=1e-9)
    split = system.split(24 - 9)
    assert manifold.slaving_residual(split, manifold.order(split, 0), path[-1]) < 0.2


def test_mode_of_a_two_layer_network_follows_its_logistic_curve():
    sigma, a0, t = 3.0, 0.01, 1.4
    system = systems.two_layer_linear((sigma,), hidden=1)
    w = jnp.full(2, a0**0.5) - sigma**0.5
    end = systems.flow(system.velocity, w, [0.0, t])[-1] + sigma**0.5
    grown = np.exp(2 * sigma * t)
    np.testing.assert_allclose(end.prod(), sigma * grown / (grown - 1 + sigma / a0), rtol=1e-9)


def test_linear_systems_have_a_flat_manifold():
    matrix = np.diag([0.1, 0.5, 2.0])
    system = systems.gradient_flow(lambda w: w @ matrix @ w / 2, jnp.zeros(3))
    v = jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(system.remainder(v), 0, atol=1e-14)
    p = system.split(2).slow(v)
    for phi in (manifold.order(system.split(2), 1), manifold.dynamic(system.split(2), 2)):
        np.testing.assert_allclose(phi(p), 0, atol=1e-14)
    form = manifold.inertial_form(system.split(2), manifold.order(system.split(2), 1))
    np.testing.assert_allclose(form(p), -matrix @ p, atol=1e-14)


def test_a_gradient_at_the_point_moves_order_one_by_a_newton_step():
    matrix, shift = np.diag([0.1, 2.0]), jnp.array([0.0, 0.3])
    system = systems.gradient_flow(lambda w: w @ matrix @ w / 2 + shift @ w, jnp.zeros(2))
    q = manifold.order(system.split(1), 1)(jnp.zeros(2))
    np.testing.assert_allclose(q, [0, -0.15], atol=1e-14)


def test_steady_is_nan_where_it_does_not_converge():
    system = systems.failing_gap(1.0, 2.0, 1.0)
    diverging = system.split(1)._replace(velocity=lambda v: 10 * v + 1)
    assert np.isnan(manifold.steady(diverging, max_steps=5)(point(1.0))).all()
    with pytest.raises(ValueError, match=r"m must lie in 1\.\.1"):
        system.split(2)
    with pytest.raises(ValueError, match="at least 0"):
        manifold.order(system.split(1), -1)
