import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ntk_prune import masks
from ntk_prune.training import OPTIMISERS, learning_rate, masked_updates, sgd


def torch_sgd(w, grads, rates, momentum, nesterov, weight_decay):
    """The recurrence in the documentation of torch.optim.SGD, in float64."""
    buf = None
    for grad, lr in zip(grads, rates, strict=True):
        g = grad + weight_decay * w
        if momentum:
            buf = g if buf is None else momentum * buf + g
            g = g + momentum * buf if nesterov else buf
        w = w - lr * g
    return w


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_is_pytorchs(momentum, nesterov, weight_decay):
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(12, 5))
    w0 = rng.normal(size=5)
    rate = learning_rate(0.1, 12, "step", drops=(4, 8), warmup=3)
    rates = [float(rate(t)) for t in range(12)]
    expected = torch_sgd(w0, grads, rates, momentum, nesterov, weight_decay)

    optimizer = sgd(rate, momentum, nesterov, weight_decay)
    w = {"w": jnp.asarray(w0, jnp.float32)}
    state = optimizer.init(w)
    for grad in grads:
        updates, state = optimizer.update({"w": jnp.asarray(grad, jnp.float32)}, state, w)
        w = optax.apply_updates(w, updates)
    np.testing.assert_allclose(w["w"], expected, rtol=1e-5, atol=1e-6)


def test_the_first_adam_step_has_the_length_of_the_rate_and_decay_enters_as_named():
    """At first m/sqrt(v) is the sign of the gradient, which coupled decay is part of."""
    w, grad = jnp.array([2.0, -2.0]), jnp.array([0.1, 0.1])

    def first(name):
        optimizer = OPTIMISERS[name](0.01, weight_decay=0.1)
        return optimizer.update(grad, optimizer.init(w), w)[0]

    np.testing.assert_allclose(first("adam"), [-0.01, 0.01], rtol=1e-4)
    np.testing.assert_allclose(first("adamw"), [-0.01 - 0.002, -0.01 + 0.002], rtol=1e-4)


def test_step_schedule_drops_at_its_steps_and_warm_up_does_not_move_them():
    rate = learning_rate(1.0, 100, "step", drops=(50, 75), factor=0.1, warmup=10)
    steps = [0, 5, 10, 49, 50, 74, 75, 99]
    expected = [0, 0.5, 1, 1, 0.1, 0.1, 0.01, 0.01]
    np.testing.assert_allclose([float(rate(t)) for t in steps], expected, rtol=1e-6)


def test_cosine_goes_from_peak_to_zero_after_warm_up():
    rate = learning_rate(2.0, 110, "cosine", warmup=10)
    steps = [0, 5, 10, 60, 110]
    np.testing.assert_allclose([float(rate(t)) for t in steps], [0, 1, 2, 1, 0], atol=1e-6)
    decay = [float(rate(t)) for t in range(10, 111)]
    assert all(np.diff(decay) < 0)


def test_constant_is_constant():
    rate = learning_rate(0.3, 10)
    np.testing.assert_allclose([float(rate(t)) for t in range(10)], 0.3, rtol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"schedule": "cosine", "drops": (5,)}, "drops belong"),
        ({"warmup": 10}, "warmup"),
        ({"warmup": -1}, "warmup"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(kwargs, word):
    with pytest.raises(ValueError, match=word):
        learning_rate(0.1, 10, **kwargs)


def test_a_training_of_no_steps_is_refused():
    with pytest.raises(ValueError, match="a training of 0 steps: lengthen it, or take batches"):
        learning_rate(0.1, 0)


RULES = {
    "sgd": sgd(0.1, 0.0, weight_decay=0.1),
    "momentum": sgd(0.1, 0.9, weight_decay=0.1),
    "adamw": OPTIMISERS["adamw"](0.1, weight_decay=0.1),
    "clipped": optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1)),
}
MASK = {"kernel": jnp.array([[True, False], [False, True]]), "bias": jnp.array([True, True])}


def trained(rule, params, steps=5):
    """Parameters and state after steps on gradients that are nowhere zero."""
    step, state = jax.jit(rule.update), rule.init(params)
    for t in range(steps):
        gradient = jax.tree.map(lambda w, t=t: jnp.cos(w + t) + 0.1, params)
        updates, state = step(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def weights():
    return {"kernel": jnp.array([[1.0, 2.0], [3.0, -4.0]]), "bias": jnp.array([0.5, -0.5])}


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_masked_updates_keep_zeros_and_change_nothing_else(name, project):
    start = masks.apply(weights(), MASK)
    params, state = trained(masked_updates(RULES[name], MASK, project=project), start)
    moments = [m for m in jax.tree.leaves(state) if m.shape == (2, 2)]
    for array in [params["kernel"], *moments]:
        np.testing.assert_array_equal(array[~MASK["kernel"]], 0)
        assert (array[MASK["kernel"]] != 0).all()

    # As if the kept weights were all there are.
    kept = {"kernel": start["kernel"][MASK["kernel"]], "bias": start["bias"]}
    alone, _ = trained(RULES[name], kept)
    np.testing.assert_allclose(params["kernel"][MASK["kernel"]], alone["kernel"], rtol=1e-6)
    np.testing.assert_allclose(params["bias"], alone["bias"], rtol=1e-6)


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_masked_updates_with_a_mask_of_ones_are_the_rule(name, project):
    dense = masked_updates(RULES[name], masks.ones_like(weights()), project=project)
    jax.tree.map(
        np.testing.assert_array_equal, trained(dense, weights()), trained(RULES[name], weights())
    )


def test_pruned_weights_stay_where_they_are_unless_they_are_projected():
    pruned = ~MASK["kernel"]
    stayed, _ = trained(masked_updates(RULES["adamw"], MASK), weights())
    np.testing.assert_array_equal(stayed["kernel"][pruned], weights()["kernel"][pruned])
    zero, _ = trained(masked_updates(RULES["adamw"], MASK, project=True), weights(), steps=1)
    np.testing.assert_array_equal(zero["kernel"][pruned], 0)


def test_masked_updates_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="mask of kernel: expected bool"):
        masked_updates(RULES["sgd"], MASK).init(weights() | {"kernel": jnp.ones((3, 2))})
    rule = masked_updates(optax.sgd(0.1), MASK, project=True)
    with pytest.raises(ValueError, match="needs update"):
        rule.update(weights(), rule.init(weights()))
