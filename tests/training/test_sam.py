"""Sharpness-aware steps: against two passes by hand, under masks, on devices and replicates."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ntk_prune import masks, training
from ntk_prune.training import Examples, ascent

RHO = 0.5


def sharpness_aware(problem, rho=RHO, adaptive=False):
    return training.make_train_step(
        problem.model, problem.optimizer, problem.prepare, sam_rho=rho, sam_adaptive=adaptive
    )


def batch_of(problem):
    x, y = jnp.asarray(problem.x[:8]), jnp.asarray(problem.y[:8])
    return Examples(x, y, jnp.arange(8), jax.random.key(7))


def assert_close(a, b, atol=2e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=atol), a, b)


def test_a_radius_of_zero_is_the_plain_rule(problem):
    plain = training.make_train_step(problem.model, problem.optimizer, problem.prepare)
    steps = [jax.jit(step) for step in (plain, sharpness_aware(problem, 0.0, adaptive=True))]
    expected, got = (step(problem.create(), batch_of(problem)) for step in steps)
    jax.tree.map(np.testing.assert_array_equal, got, expected)
    tiny, _ = jax.jit(sharpness_aware(problem, 1e-6))(problem.create(), batch_of(problem))
    assert_close(tiny, expected[0], atol=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("base", ["nesterov", "adam"])
def test_two_passes_by_hand(problem, base, adaptive):
    problem.optimizer = {
        "nesterov": training.sgd(0.1, 0.9, nesterov=True, weight_decay=0.1),
        "adam": optax.adam(0.1, eps=0.01),  # a bias before batch norm has a gradient of noise
    }[base]
    before, batch = problem.create(), batch_of(problem)
    after, metrics = jax.jit(sharpness_aware(problem, adaptive=adaptive))(before, batch)
    x = problem.prepare(batch.key, 0, batch.index, batch.x)

    def loss(params):
        pruned = masks.apply(params, before.mask)
        logits, new = problem.model.apply(pruned, before.model_state, x, train=True)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y)
        return cross_entropy.mean(), new

    (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(before.params)
    size = jax.tree.map(jnp.abs if adaptive else jnp.ones_like, before.params)
    squares = jax.tree.map(lambda s, g: float(((s * g) ** 2).sum()), size, gradient)
    length = RHO / np.sqrt(sum(jax.tree.leaves(squares)))
    moved = jax.tree.map(lambda w, s, g: w + length * s**2 * g, before.params, size, gradient)
    second, _ = jax.grad(loss, has_aux=True)(moved)
    updates, _ = problem.optimizer.update(second, before.opt_state, before.params)
    expected = masks.apply(optax.apply_updates(before.params, updates), before.mask)
    assert_close(after.params, expected)
    assert_close(after.model_state, statistics)
    assert float(metrics["loss"]) == pytest.approx(float(value), rel=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_pruned_weights_and_moments_stay_exactly_zero(problem, adaptive):
    state, step = problem.create(), jax.jit(sharpness_aware(problem, adaptive=adaptive))
    for _ in range(4):
        state, _ = step(state, batch_of(problem))
    for tree in (state.params, optax.tree_utils.tree_get(state.opt_state, "trace")):
        jax.tree.map(lambda t, m: np.testing.assert_array_equal(t[~m], 0), tree, state.mask)
        assert all(np.any(leaf) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("adaptive", [False, True])
def test_zero_gradients_and_zero_weights_survive(adaptive):
    zeros, ones = {"w": jnp.zeros(3)}, {"w": jnp.ones(3)}
    np.testing.assert_array_equal(ascent(zeros, ones, RHO, adaptive)["w"], 0)
    assert np.isfinite(ascent(ones, zeros, RHO, adaptive)["w"]).all()


def test_the_step_has_the_length_of_the_radius(problem):
    gradient = jax.tree.map(jnp.cos, problem.params)
    step = ascent(gradient, problem.params, RHO)
    assert float(optax.tree.norm(step)) == pytest.approx(RHO, rel=1e-6)
    adaptive = ascent(gradient, problem.params, RHO, adaptive=True)
    sizes = jax.tree.map(lambda w: jnp.where(w == 0, 1, jnp.abs(w)), problem.params)
    in_units = jax.tree.map(jnp.divide, adaptive, sizes)
    assert float(optax.tree.norm(in_units)) == pytest.approx(RHO, rel=1e-6)


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_four_devices_and_replicates_are_one_device(problem, parallel):
    """The norm is that of the gradient of the whole batch, and each network has its own."""
    step = sharpness_aware(problem)

    def train(order, state, key, **how):
        spread = training.distribute(step, **how)
        feed = training.in_memory(spread, problem.x, problem.y, order, key)
        return list(training.fit(state, spread, feed, 3, problem.rate))[-1].state

    key, device = jax.random.key(7), jax.devices()[:1]
    single = train(problem.order, problem.create(), key, parallel="jit", devices=device)
    assert_close(train(problem.order, problem.create(), key, parallel=parallel), single)
    other = problem.create()._replace(params=jax.tree.map(lambda p: 2 * p, problem.create().params))
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), problem.create(), other)
    together = train(
        lambda epoch: np.stack([problem.order(epoch)] * 2, 1), both, jnp.stack([key, key]),
        parallel=parallel, replicates=2,
    )  # fmt: skip
    assert_close(jax.tree.map(lambda leaf: leaf[0], together), single)
    alone = train(problem.order, other, key, parallel="jit", devices=device)
    assert_close(jax.tree.map(lambda leaf: leaf[1], together), alone)


@pytest.mark.parametrize("rho", [-0.1, float("nan"), float("inf")])
def test_a_radius_that_cannot_be_is_refused(problem, rho):
    with pytest.raises(ValueError, match="sam_rho must be 0 or more"):
        sharpness_aware(problem, rho)
