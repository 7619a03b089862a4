"""The linearised network and its gradient flow against brute force, on tiny masked networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import masks
from ntk_prune.models import mlp
from ntk_prune.ntk import empirical_ntk, gradient_flow, linearised


@pytest.fixture
def problem():
    """A masked softplus network in float64, six training and three test inputs."""
    with jax.enable_x64(True):
        network = mlp((7, 5), 2, activation="softplus")
        keys = jax.random.split(jax.random.key(0), 4)
        x = jax.random.normal(keys[0], (9, 4), jnp.float64)
        y = np.asarray(jax.random.normal(keys[1], (6, 2), jnp.float64))
        params, state = network.init(keys[2], x)
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        scores = jax.tree.map(lambda p: jax.random.uniform(keys[3], p.shape), params)
        mask = masks.keep_top(scores, masks.ones_like(params), 0.5)
        yield network, params, state, mask, x[:6], y, x[6:]


def kernels(network, params, state, mask, x, x_test):
    common = {"state": state, "mask": mask}
    return (
        empirical_ntk(network, params, x, **common),
        empirical_ntk(network, params, x_test, x, **common),
    )


def test_tangent_at_the_start(problem):
    network, params, state, mask, x, _, _ = problem
    f_lin = linearised(network, params, state=state, mask=mask)
    value, _ = network.apply(masks.apply(params, mask), state, x, train=False)
    np.testing.assert_allclose(f_lin(params, x), value, rtol=1e-12)
    other = jax.tree.map(lambda p: p + 0.3, params)
    far = f_lin(other, x) - value
    half = f_lin(jax.tree.map(lambda p: p + 0.15, params), x) - value
    np.testing.assert_allclose(far, 2 * half, rtol=1e-9)


def test_pruned_weights_do_not_move_the_linearised_network(problem):
    network, params, state, mask, x, _, _ = problem
    f_lin = linearised(network, params, state=state, mask=mask)
    moved = jax.tree.map(lambda p, m: jnp.where(m, p, p + 5.0), params, mask)
    np.testing.assert_array_equal(f_lin(moved, x), f_lin(params, x))


def test_flow_is_the_limit_of_gradient_descent_on_the_linearised_network(problem):
    network, params, state, mask, x, y, x_test = problem
    f_lin = linearised(network, params, state=state, mask=mask)
    kernel, cross = kernels(network, params, state, mask, x, x_test)
    flow = gradient_flow(kernel, np.asarray(f_lin(params, x)), y)

    def error(steps, t=3.0):
        gradient = jax.grad(lambda p: jnp.square(f_lin(p, x) - y).sum() / (2 * len(x)))
        move = jax.jit(lambda p: jax.tree.map(lambda a, g: a - t / steps * g, p, gradient(p)))
        moved = params
        for _ in range(steps):
            moved = move(moved)
        on_train = np.abs(f_lin(moved, x) - flow.train(t, y)).max()
        expected = flow.test(t, np.asarray(f_lin(params, x_test)), cross)
        return max(on_train, np.abs(f_lin(moved, x_test) - expected).max())

    coarse, fine = error(200), error(400)
    assert fine < 0.02
    assert 1.8 < coarse / fine < 2.2  # Euler's method: first order in the step


def test_flow_at_zero_and_at_infinity(problem):
    network, params, state, mask, x, y, x_test = problem
    kernel, cross = kernels(network, params, state, mask, x, x_test)
    f0 = np.asarray(network.apply(masks.apply(params, mask), state, x, train=False)[0])
    g0 = np.asarray(network.apply(masks.apply(params, mask), state, x_test, train=False)[0])
    flow = gradient_flow(kernel, f0, y)
    np.testing.assert_allclose(flow.train(0.0, y), f0, atol=1e-12)
    np.testing.assert_allclose(flow.test(0.0, g0, cross), g0, atol=1e-12)
    np.testing.assert_allclose(flow.train(1e9, y), y, atol=1e-6)
    # on the training inputs themselves both formulas are one
    np.testing.assert_allclose(flow.test(2.0, f0, kernel), flow.train(2.0, y), atol=1e-10)


def test_shapes_that_do_not_fit(problem):
    network, params, state, mask, x, y, x_test = problem
    kernel, _ = kernels(network, params, state, mask, x, x_test)
    with pytest.raises(ValueError, match="does not fit outputs"):
        gradient_flow(kernel, y[:3], y[:3])


def test_duplicated_inputs_have_predictions_at_the_end_of_time():
    rng = np.random.default_rng(0)
    j = rng.normal(size=(3, 6))
    j[2] = j[1]
    kernel, f0, y = j @ j.T, rng.normal(size=(3, 1)), np.array([[1.0], [2.0], [2.0]])
    f0[2] = f0[1]
    flow = gradient_flow(kernel, f0, y)
    np.testing.assert_allclose(flow.train(np.inf, y), y, atol=1e-6)
    new = rng.normal(size=(2, 6))
    at_rest = flow.test(np.inf, np.zeros((2, 1)), new @ j.T)
    exact = new @ j.T @ np.linalg.pinv(kernel) @ (y - f0)
    np.testing.assert_allclose(at_rest, exact, rtol=1e-6)
    late = flow.test(1e6, np.zeros((2, 1)), new @ j.T)
    np.testing.assert_allclose(late, exact, rtol=1e-5)
