"""Reduced training: what moves, what stays, and what is slaved."""

import itertools

import jax
import jax.numpy as jnp
import networks
import numpy as np
import optax
import pytest

from ntk_prune import linalg, masks
from ntk_prune.inertial import leverage, manifold, reduced, systems
from ntk_prune.inertial.point import fast_split
from ntk_prune.inertial.split import coordinate_split
from ntk_prune.training import masked_updates

KEY = jax.random.key(1)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def net():
    return networks.network()


def updates_of(optimizer, params):
    gradient = jax.tree.map(lambda p: jax.random.normal(KEY, p.shape), params)
    state = optimizer.init(params)
    return gradient, *optimizer.update(gradient, state, params)


def test_start():
    w0, star = {"kernel": jnp.array([1.0, 2.0])}, {"kernel": jnp.array([3.0, 4.0])}
    mask = {"kernel": np.array([True, False])}
    assert reduced.reduced_start(w0, star, mask, "zeroed")["kernel"].tolist() == [1, 0]
    assert reduced.reduced_start(star, star, mask, "frozen")["kernel"].tolist() == [3, 4]
    assert reduced.reduced_start(w0, star, mask, "slaved")["kernel"].tolist() == [1, 4]
    with pytest.raises(ValueError, match="zeroed, frozen, slaved"):
        reduced.reduced_start(w0, star, mask, "free")


def test_slaved_weights_of_a_quadratic_are_its_schur_complement():
    """Kept weights see the Schur complement, the others sit at their minimum given them."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 6))
    h, kept = a @ a.T + np.eye(6), np.arange(6) < 2
    value = lambda p: p["w"] @ jnp.asarray(h) @ p["w"] / 2  # noqa: E731
    rule = reduced.slaved(optax.sgd(0.01), {"w": jnp.asarray(kept)}, value, 40)
    params = {"w": jnp.asarray(rng.normal(size=6))}
    state = rule.init(params)
    path = []
    for _ in range(4):
        updates, state = rule.update(jax.grad(value)(params), state, params)
        params = optax.apply_updates(params, updates)
        path.append(np.asarray(params["w"]))
    step = np.eye(2) - 0.01 * leverage.schur_complement(h, kept)
    for before, after in itertools.pairwise(path):
        np.testing.assert_allclose(after[kept], step @ before[kept], rtol=1e-7)
        fast = -np.linalg.solve(h[~kept][:, ~kept], h[~kept][:, kept] @ after[kept])
        np.testing.assert_allclose(after[~kept], fast, atol=1e-7)


def test_slaved_weights_of_a_network_have_no_gradient(net):
    loss, mask = net.loss, jax.tree.map(lambda p: jnp.abs(p) > 0.3, net.loss.params)
    rule = reduced.slaved(optax.sgd(0.1), mask, loss.value, 40)
    frozen = masked_updates(optax.sgd(0.1), mask)
    gradient = jax.grad(loss.value)(loss.params)
    updates, _ = jax.jit(rule.update)(gradient, rule.init(loss.params), loss.params)
    same, _ = frozen.update(gradient, frozen.init(loss.params), loss.params)
    jax.tree.map(
        lambda u, v, m: np.testing.assert_array_equal(u[m], v[m]), updates, same, mask
    )  # the rule of the kept weights is untouched
    after = jax.grad(loss.value)(optax.apply_updates(loss.params, updates))
    rest, before = (masks.apply(g, jax.tree.map(jnp.logical_not, mask)) for g in (after, gradient))
    assert optax.tree.norm(rest) < 0.05 * optax.tree.norm(before)


def test_projections_split_the_update(net):
    coordinates, basis = net.loss.coordinates, net.vectors[:, -3:]
    sides = {}
    for side in ("dominant", "bulk"):
        optimizer = reduced.projected(optax.sgd(0.1), coordinates, basis, side)
        gradient, updates, state = updates_of(optimizer, net.loss.params)
        sides[side] = np.asarray(coordinates.vector(updates))
        assert state.basis.shape == (83, 3)
    whole = -0.1 * np.asarray(coordinates.vector(gradient))
    np.testing.assert_allclose(sides["dominant"] + sides["bulk"], whole, atol=1e-12)
    np.testing.assert_allclose(basis.T @ sides["bulk"], 0, atol=1e-12)
    np.testing.assert_allclose(sides["dominant"], basis @ (basis.T @ whole), atol=1e-12)
    with pytest.raises(ValueError, match="dominant, bulk"):
        reduced.projected(optax.sgd(0.1), coordinates, basis, "top")


def test_dominant_training_stalls_where_bulk_training_goes_on():
    """A ravine: the steep direction is at its minimum, all progress lies along the flat one."""
    params = {"kernel": jnp.array([0.0, 1.0])}
    curvature = jnp.array([10.0, 0.5])
    from ntk_prune.coordinates import coordinates

    space = coordinates(params, {"kernel": np.ones(2, bool)})
    left = {}
    for side in ("dominant", "bulk"):
        optimizer = reduced.projected(optax.sgd(0.1), space, jnp.array([[1.0], [0.0]]), side)
        w, state = params, optimizer.init(params)
        for _ in range(50):
            updates, state = optimizer.update({"kernel": curvature * w["kernel"]}, state, w)
            w = optax.apply_updates(w, updates)
        left[side] = float((curvature * w["kernel"] ** 2).sum())
    assert left["dominant"] == 0.5
    assert left["bulk"] < 0.01


def test_galerkin_of_a_quadratic_is_its_schur_complement():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(6, 6))
    h, kept = a @ a.T + np.eye(6), np.arange(6) < 2
    velocity = lambda v: -jnp.asarray(h) @ v  # noqa: E731
    split = coordinate_split(velocity, jnp.asarray(kept), lambda v: jnp.asarray(h) @ v, tol=1e-13)
    start = jnp.asarray(rng.normal(size=6))
    path = reduced.galerkin(split, manifold.order(split, 1), start, 0.01, 3)
    step = np.eye(2) - 0.01 * leverage.schur_complement(h, kept)
    expected = [np.asarray(start)[kept]]
    for _ in range(3):
        expected.append(step @ expected[-1])
    np.testing.assert_allclose(path[:, kept], expected, rtol=1e-9)
    fast = -np.linalg.solve(h[~kept][:, ~kept], h[~kept][:, kept] @ path[-1, kept])
    np.testing.assert_allclose(path[-1, ~kept], fast, rtol=1e-8)


def test_galerkin_of_the_two_weight_network_stays_on_its_minima():
    split = systems.two_weights(1.0).split(1)
    path = reduced.galerkin(split, manifold.steady(split), jnp.array([0.4, -0.1]), 0.1, 5)
    np.testing.assert_allclose((path + 1).prod(axis=1), 1.0, atol=1e-9)
    np.testing.assert_allclose(path[-1], path[0], atol=1e-9)


def test_slaving_predicts_a_network_better_than_freezing():
    """On the flow of the trained network the fast coordinates follow the slow ones."""
    loss = networks.masked_loss(800)
    values, vectors = np.linalg.eigh(loss.hessian().dense())
    split = fast_split(loss, linalg.Eigenpairs(values[-3:], vectors[:, -3:], np.zeros(3)))
    rng = np.random.default_rng(2)
    v = 0.05 * vectors[:, :-3] @ rng.normal(size=80) / 80**0.5
    v = jnp.asarray(v)
    for _ in range(150):
        v = v + 0.2 * split.velocity(v)
    zero, one, steady = (
        float(manifold.slaving_residual(split, phi, v))
        for phi in (manifold.order(split, 0), manifold.order(split, 1), manifold.steady(split))
    )
    assert one < 0.5 * zero
    assert steady < 0.7 * zero


def test_decay_rate_is_the_gap_of_a_linear_flow():
    system = systems.quadratic(0.3, 2.0, 1.5)
    times = np.linspace(0, 3, 30)
    path = systems.flow(system.velocity, [1.0, 0.5], times)
    distance = np.abs(path[:, 1] - 1.5 / 1.4 * path[:, 0] ** 2)
    decay = reduced.decay_rate(times, distance)
    np.testing.assert_allclose(decay.value, 2.0, rtol=1e-6)
    noisy = distance * np.exp(0.1 * np.random.default_rng(0).normal(size=30))
    decay = reduced.decay_rate(times, noisy)
    assert abs(decay.value - 2) < 4 * decay.sem
    with pytest.raises(ValueError, match="at least 3 positive"):
        reduced.decay_rate([0, 1, 2], [1.0, 0.0, 1.0])
