import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ntk_prune import masks, training
from ntk_prune.losses import squared_error
from ntk_prune.training import Examples, learning_rate


def batch_of(problem):
    x, y = jnp.asarray(problem.x[:8]), jnp.asarray(problem.y[:8])
    return Examples(x, y, jnp.arange(8), jax.random.key(7))


def assert_zero_where_pruned(tree, mask):
    jax.tree.map(lambda t, m: np.testing.assert_array_equal(t[~m], 0), tree, mask)


OPTIMISERS = {
    "sgd": training.sgd(0.1, 0.9, weight_decay=0.1),
    "nesterov": training.sgd(0.1, 0.9, nesterov=True, weight_decay=0.1),
    "adam": training.adam(0.01, weight_decay=0.1),
    "adamw": training.adamw(0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_pruned_weights_and_moments_stay_exactly_zero(problem, name):
    problem.optimizer = OPTIMISERS[name]
    state = problem.train(6, parallel="jit", num_devices=1).state
    assert_zero_where_pruned(state.params, problem.mask)
    kernel = np.asarray(state.params["Dense_0"]["kernel"])
    assert (kernel[np.asarray(problem.mask["Dense_0"]["kernel"])] != 0).all()

    structure = jax.tree.structure(state.params)
    is_moment = lambda node: jax.tree.structure(node) == structure  # noqa: E731
    nodes = jax.tree.leaves(state.opt_state, is_leaf=is_moment)
    moments = [node for node in nodes if is_moment(node)]
    assert len(moments) == (2 if name.startswith("adam") else 1)
    for moment in moments:
        assert_zero_where_pruned(moment, problem.mask)
        assert any(np.any(leaf) for leaf in jax.tree.leaves(moment))


def test_pruned_weights_stay_zero_under_updates_that_ignore_the_gradient(problem):
    problem.optimizer = optax.stateless(lambda grads, _: jax.tree.map(jnp.ones_like, grads))
    state = problem.train(2, parallel="jit", num_devices=1).state
    assert_zero_where_pruned(state.params, problem.mask)


def test_the_masked_step_is_the_dense_step_of_the_masked_loss(problem):
    """With plain SGD of rate 1 the update is minus the gradient of loss(params * mask)."""
    problem.optimizer = training.sgd(1.0, 0.0)
    step = training.make_train_step(problem.model, problem.optimizer, problem.prepare)
    state, batch = problem.create(), batch_of(problem)
    after, metrics = step(state, batch, None)

    def loss(params):
        x = problem.prepare(batch.key, 0, batch.index, batch.x)
        logits, _ = problem.model.apply(
            masks.apply(params, problem.mask), problem.state, x, train=True
        )
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), batch.y[:, None], 1).mean()

    value, grads = jax.value_and_grad(loss)(problem.params)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-6)
    moved = jax.tree.map(lambda a, b: a - b, state.params, after.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved, grads)
    assert int(after.step) == 1


def test_running_statistics_move(problem):
    state = problem.train(2, parallel="jit", num_devices=1).state.model_state
    before = jax.tree.leaves(problem.state)
    assert all((a != b).any() for a, b in zip(jax.tree.leaves(state), before, strict=True))


def test_a_mask_of_ones_trains_like_no_mask(problem):
    problem.mask = masks.ones_like(problem.params)
    state = problem.train(3, parallel="jit", num_devices=1).state
    optimizer, params, bn = problem.optimizer, problem.params, problem.state
    opt_state = optimizer.init(params)
    order = np.concatenate([problem.order(0), problem.order(1)])
    for step, rows in enumerate(order[:3]):
        x = problem.prepare(jax.random.key(7), step, jnp.arange(8), problem.x[rows])

        def loss(params, bn=bn, x=x, y=problem.y[rows]):
            logits, new = problem.model.apply(params, bn, x, train=True)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            return loss.mean(), new

        grads, bn = jax.grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        (state.params, state.model_state),
        (params, bn),
    )


def test_a_bfloat16_network_learns_with_float32_parameters(problem_bfloat16):
    problem = problem_bfloat16
    problem.rate = learning_rate(0.1, 40)
    epochs = list(problem.fit(40, parallel="jit", num_devices=1))
    assert epochs[-1].loss < 0.5 * epochs[0].loss
    floats = (epochs[-1].state.params, epochs[-1].state.model_state, epochs[-1].state.opt_state)
    assert {leaf.dtype for leaf in jax.tree.leaves(floats)} == {jnp.float32.dtype}
    x = problem.prepare(jax.random.key(7), 0, jnp.arange(20), problem.x)
    inside = jax.make_jaxpr(lambda p: problem.model.apply(p, problem.state, x, train=False))
    assert "bf16" in str(inside(problem.params))


def test_labels_outside_the_classes_count_nowhere(problem):
    """One ignored example among eight is a batch of seven, also with unequal shares."""
    problem.prepare = lambda key, step, index, x: x.astype(jnp.float32) / 128 - 1
    step = training.make_train_step(
        problem.model, training.sgd(1.0, 0.0), problem.prepare, batch_norm="running"
    )
    x, y, index, key = batch_of(problem)
    expected, metrics = step(problem.create(), Examples(x[1:], y[1:], index[1:], key), None)
    ignored = Examples(x, y.at[0].set(255), index, key)
    got, with_ignored = step(problem.create(), ignored, None)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, expected)
    np.testing.assert_allclose(with_ignored["loss"], metrics["loss"], rtol=1e-6)
    how = training.distribute(step)
    state = how.replicate(jax.tree.map(jnp.array, problem.create()))
    spread, _ = how.step(state, how.put(ignored.x[None], ignored.y[None], key))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), spread, expected)


def test_frozen_statistics_stay(problem):
    step = training.make_train_step(
        problem.model, problem.optimizer, problem.prepare, batch_norm="running"
    )
    after, _ = step(problem.create(), batch_of(problem), None)
    jax.tree.map(np.testing.assert_array_equal, after.model_state, problem.state)


def test_squared_error_is_the_mean_over_classes():
    logits, y = jnp.array([[1.0, 2.0], [0.0, 3.0]]), jnp.array([1, 0])
    np.testing.assert_allclose(squared_error(logits, y), [(1 + 1) / 2, (1 + 9) / 2])


def test_modules_learn_at_their_own_rate(problem):
    base, batch = training.sgd(0.1, 0.9, weight_decay=0.1), batch_of(problem)
    factors = {"Dense_0": 0.5, "Dense_1/bias": 0.0}

    def moved(optimizer):
        step = training.make_train_step(problem.model, optimizer, problem.prepare)
        before = training.create(problem.params, problem.state, problem.mask, optimizer)
        after, _ = step(before, batch, None)
        return jax.tree.map(lambda a, b: a - b, after.params, before.params)

    plain, scaled = moved(base), moved(training.scaled(base, factors))
    plain["Dense_0"] = jax.tree.map(lambda m: 0.5 * m, plain["Dense_0"])
    plain["Dense_1"]["bias"] = jnp.zeros(3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), scaled, plain)
    with pytest.raises(ValueError, match="no parameter lies under 'backbone'"):
        training.scaled(base, {"backbone": 0.1}).init(problem.params)
