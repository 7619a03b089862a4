"""Sums of squared gradients against the Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import masks
from ntk_prune.models import resnet
from ntk_prune.ntk import empirical_ntk, squared_gradients

KEY = jax.random.key(3)
Y = jnp.array([0, 1, 2, 1, 1])


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def function(params, x):
    """A convolution with bias, a linear layer stored transposed, and one used twice."""
    x = jax.lax.conv_general_dilated(
        x, params["conv"]["kernel"], (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    x = jnp.tanh(x + params["conv"]["bias"][None, None, None]).reshape(len(x), -1)
    x = jnp.tanh(x @ params["transposed"]["kernel"].T)
    x = jnp.tanh(x @ params["twice"]["kernel"])
    return x @ params["twice"]["kernel"]


def problem():
    """``(params, mask, x)`` of ``function``."""
    shapes = {
        "conv": {"kernel": (3, 3, 2, 4), "bias": (4,)},
        "transposed": {"kernel": (3, 36)},
        "twice": {"kernel": (3, 3)},
    }
    is_shape = {"is_leaf": lambda s: isinstance(s, tuple)}
    params = jax.tree.map(lambda s: 0.5 * jax.random.normal(KEY, s), shapes, **is_shape)
    scores = jax.tree.map(lambda p: jax.random.uniform(KEY, p.shape), params)
    mask = masks.keep_top(scores, masks.ones_like(params), 0.6)
    return params, mask, jax.random.normal(KEY, (5, 6, 6, 2))


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("wrt", ["all", "prunable"])
def test_it_is_the_squared_jacobian_summed_over_examples(chunk, wrt):
    params, mask, x = problem()

    def logits(params):
        return function(masks.apply(params, mask), x)[jnp.arange(5), Y]

    expected = jax.tree.map(lambda j: jnp.square(j).sum(0), jax.jacrev(logits)(params))
    expected = masks.only_prunable(expected) if wrt == "prunable" else expected
    ours = squared_gradients(function, params, x, Y, mask=mask, wrt=wrt, chunk=chunk)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), ours, expected)


def test_its_sum_is_a_trace_of_the_kernel():
    model = resnet(8, 2, 3)
    x = jax.random.normal(KEY, (5, 8, 8, 1))
    params, state = jax.jit(model.init)(KEY, x)
    squares = squared_gradients(model, params, x, Y, state=state)
    kernel = empirical_ntk(model, params, x, state=state, wrt="prunable")
    expected = kernel[np.arange(5), np.arange(5), Y, Y].sum()
    np.testing.assert_allclose(sum(s.sum() for _, s in masks.leaves(squares)), expected, rtol=1e-6)
