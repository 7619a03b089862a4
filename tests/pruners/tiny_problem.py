"""A small smooth problem for exact statements about scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.models import mlp
from ntk_prune.types import Batch

KEY = jax.random.key(5)


@functools.cache
def problem(activation="softplus", widths=(5, 4), bias=True, dtype=jnp.float64):
    """``(model, params, state, mask, batches)``: two batches of six examples, a 70% mask."""
    model = mlp(widths, 3, activation, bias)
    x = jax.random.normal(KEY, (2, 6, 4), dtype)
    y = jax.random.randint(KEY, (2, 6), 0, 3)
    params, state = jax.jit(model.init)(KEY, x[0])
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    scores = jax.tree.map(lambda p: jax.random.uniform(KEY, p.shape), params)
    mask = masks.keep_top(scores, masks.ones_like(params), 0.7)
    return model, params, state, mask, Batch(x, y)


def flat(tree):
    """The prunable entries as one vector."""
    return jnp.concatenate([leaf.ravel() for _, leaf in masks.leaves(tree)])


def random_variables(model, x, seed=0):
    """Parameters, and a state with everything moved away from its initial value."""
    params, state = jax.jit(model.init)(jax.random.key(seed), x)
    leaves, structure = jax.tree.flatten((params, state))
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    moved = [
        a * jnp.exp(0.3 * jax.random.normal(k, a.shape)) + 0.1 * (a == 0)
        for a, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.map(lambda a: a.astype(float), structure.unflatten(moved))


def same(actual, expected):
    """Equal to the rounding of float64."""
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)
