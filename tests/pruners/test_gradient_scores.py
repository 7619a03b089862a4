"""SNIP, iterative SNIP, GraSP and SynFlow against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from tiny_problem import KEY, flat, problem

from ntk_prune import masks
from ntk_prune.models import mlp, vgg
from ntk_prune.pruners import PRUNERS, grasp, itersnip, magnitude, prune, random, snip, synflow
from ntk_prune.pruners.synflow import saliency
from ntk_prune.types import Batch


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def loss(model, params, state, batches, temperature=1.0):
    """The sum over the batches of the mean cross entropy."""
    logits = jnp.stack([model.apply(params, state, x, train=True)[0] for x in batches.x])
    log_p = jax.nn.log_softmax(logits / temperature)
    return -jnp.take_along_axis(log_p, batches.y[..., None], -1).mean((1, 2)).sum()


def test_snip_at_the_mask_of_ones_is_weight_times_gradient():
    model, params, state, _, batches = problem()
    score = snip().score(KEY, model, params, state, masks.ones_like(params), batches)
    gradient = jax.grad(lambda p: loss(model, p, state, batches))(params)
    expected = jnp.abs(flat(params) * flat(gradient))
    np.testing.assert_allclose(flat(score), expected / expected.sum(), rtol=1e-10)
    assert flat(score).sum() == pytest.approx(1)


def test_snip_is_the_first_order_effect_of_removing_a_connection():
    model, params, state, mask, batches = problem()
    m = masks.as_float(mask, params)
    step = 1e-6

    def change(layer, index):
        moved = {**m, layer: {**m[layer], "kernel": m[layer]["kernel"].at[index].add(-step)}}
        return abs(
            loss(model, masks.apply(params, moved), state, batches)
            - loss(model, masks.apply(params, m), state, batches)
        )

    score = snip().score(KEY, model, params, state, mask, batches)
    places = [("fc0", (1, 2)), ("fc1", (0, 3)), ("fc2", (3, 1)), ("fc2", (0, 0))]
    ours = np.array([score[layer]["kernel"][index] for layer, index in places])
    effect = np.array([change(*place) for place in places])
    np.testing.assert_allclose(ours / ours.sum(), effect / effect.sum(), rtol=1e-4)


def test_itersnip_is_snip_on_what_is_left():
    model, params, state, mask, batches = problem()
    one = flat(snip().score(KEY, model, params, state, mask, batches))
    iterated = flat(itersnip().score(KEY, model, params, state, mask, batches))
    kept = flat(mask)
    assert (one[~kept] > 0).any()
    assert not iterated[~kept].any()
    np.testing.assert_allclose(iterated[kept], one[kept] / one[kept].sum(), rtol=1e-10)


@pytest.mark.parametrize("dense", [True, False])
def test_grasp_is_weight_times_explicit_hessian_times_gradient(dense):
    model, params, state, mask, batches = problem()
    mask = masks.ones_like(params) if dense else mask
    kernels = {name: leaf["kernel"] for name, leaf in params.items()}
    theta, unravel = ravel_pytree(kernels)

    def f(theta):
        filled = {n: {**params[n], "kernel": k} for n, k in unravel(theta).items()}
        return loss(model, masks.apply(filled, mask), state, batches, 200.0)

    flow = theta * (jax.hessian(f)(theta) @ jax.grad(f)(theta))
    score = grasp().score(KEY, model, params, state, mask, batches)
    np.testing.assert_allclose(flat(score), flow / (abs(flow.sum()) + 1e-10), rtol=1e-7, atol=1e-9)


def test_grasp_keeps_what_raises_the_gradient_norm():
    # d|g|^2 when a weight is scaled by 1 + e is 2 e theta (H g): the largest score is the weight
    # whose loss costs most gradient norm.
    model, params, state, _, batches = problem()
    dense = masks.ones_like(params)
    score = flat(grasp(temperature=1.0).score(KEY, model, params, state, dense, batches))
    kernels = {name: leaf["kernel"] for name, leaf in params.items()}
    theta, unravel = ravel_pytree(kernels)

    def squared_norm(theta):
        def f(theta):
            filled = {n: {**params[n], "kernel": k} for n, k in unravel(theta).items()}
            return loss(model, filled, state, batches)

        return jnp.square(jax.grad(f)(theta)).sum()

    growth = theta * jax.grad(squared_norm)(theta)
    np.testing.assert_allclose(
        score / jnp.abs(score).max(), growth / jnp.abs(growth).max(), atol=1e-8
    )


@pytest.mark.parametrize("name", ["snip", "itersnip", "grasp"])
def test_scores_do_not_depend_on_the_order_of_batches(name):
    model, params, state, mask, batches = problem()
    turned = Batch(batches.x[::-1], batches.y[::-1])
    one, other = (
        flat(PRUNERS[name]().score(KEY, model, params, state, mask, b)) for b in (batches, turned)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-14)


def test_synflow_is_conserved_over_layers():
    model, params, state, mask, batches = problem("relu", bias=False)
    ones = jnp.ones((1, 4))
    scores = saliency(model, params, state, mask, ones)
    positive = jax.tree.map(jnp.abs, masks.apply(params, mask))
    flow = model.apply(positive, state, ones, train=False)[0].sum()
    for _, s in masks.leaves(scores):
        assert float(s.sum()) == pytest.approx(float(flow), rel=1e-12)
    normalised = synflow().score(KEY, model, params, state, mask, batches)
    np.testing.assert_allclose(flat(normalised), flat(scores) / (3 * flow), rtol=1e-10)


def test_synflow_leaves_no_layer_empty_where_one_shot_does():
    model = mlp((60, 6, 60), 10, bias=False)
    params, state = model.init(KEY, jnp.ones((1, 30)))
    batches = Batch(jnp.ones((1, 2, 30)), jnp.zeros((1, 2), int))
    dense = masks.ones_like(params)
    _, iterated = prune(KEY, synflow(), model, params, state, dense, batches, 0.01)
    assert not iterated.collapsed


@pytest.mark.parametrize("network", ["vgg19", "mlp46"])
def test_synflow_is_finite_on_deep_networks_in_float32(network):
    with jax.enable_x64(False):
        model = vgg(19, 8) if network == "vgg19" else mlp((100,) * 45)
        x = jnp.zeros((1, 1, 16, 16, 3))
        params, state = jax.jit(model.init)(KEY, x[0])
        batches, mask = Batch(x, jnp.zeros((1, 1), int)), masks.ones_like(params)
        scores = synflow().score(KEY, model, params, state, mask, batches)
        for name, s in masks.leaves(scores):
            assert s.dtype == jnp.float32
            assert np.isfinite(s).all(), name
            assert np.asarray(s).any(), name
        if network == "mlp46":  # where float32 alone overflows
            plain = jax.jit(saliency, static_argnums=0)(model, params, state, mask, x[0] + 1)
            assert not np.isfinite(flat(plain)).all()


def test_magnitude_and_random():
    model, params, state, mask, batches = problem()
    scores = magnitude().score(KEY, model, params, state, mask, batches)
    np.testing.assert_array_equal(flat(scores), jnp.abs(flat(params)))
    drawn = flat(random().score(KEY, model, {"kernel": jnp.zeros((50, 80))}, {}, None, batches))
    assert len(set(np.asarray(drawn).tolist())) == 4000
    assert abs(float(drawn.mean()) - 0.5) < 4 / np.sqrt(12 * 4000)
