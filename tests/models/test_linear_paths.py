"""Every piecewise-linear network is its open paths, and each layer that all paths cross has all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import PIECEWISE_LINEAR, TINY, images, variables

from ntk_prune import masks
from ntk_prune.activations import Open, Record, Replay

# Kernels that every path crosses exactly once.
CROSSED = {
    "mlp": ("fc0", "fc1", "fc2"),
    "lenet5": ("conv0", "conv1", "fc0", "fc1", "fc2"),
    "resnet": ("conv", "fc"),
    "preresnet": ("conv1", "fc"),
    "densenet": ("conv1", "trans1_conv", "trans2_conv", "fc"),
    "mobilenet_v1": ("conv", *(f"blocks_{i}/conv{j}" for i in range(13) for j in (1, 2)), "fc"),
    "imagenet_resnet": ("backbone/conv1", "fc"),
    "deeplab": ("backbone/conv1", "decoder_conv", "classifier"),
}


def unshifted(name):
    """``(params, state)`` in float64 without biases and running means."""
    params, state = variables(name, np.float64)

    def drop(path, leaf):
        return jnp.zeros_like(leaf) if masks.path_of(path)[-1] in ("bias", "mean") else leaf

    return jax.tree_util.tree_map_with_path(drop, (params, state))


@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_the_recorded_gates_leave_a_linear_map(name):
    """The network at ``x`` under the gates of ``x``, and so its negative at ``-x``."""
    apply = functools.partial(TINY[name][0].apply, train=False)

    @jax.jit
    def outputs(params, state, x):
        record = Record()
        logits, _ = apply(params, state, x, activation=record)
        replay = Replay(record.gates, slope=lambda slope: slope)
        return logits, apply(params, state, -x, activation=replay)[0]

    with jax.enable_x64(True):
        logits, replayed = outputs(*unshifted(name), images(name, dtype=np.float64))
    assert logits.dtype == np.float64
    np.testing.assert_allclose(-replayed, logits, atol=1e-13 * np.abs(logits).max())


@pytest.mark.parametrize("name", CROSSED)
def test_layers_share_the_sum_over_all_paths(name):
    """``sum theta^2 dR/d(theta^2) = R`` for each layer that every path crosses (Euler)."""
    apply = functools.partial(TINY[name][0].apply, train=False)

    @jax.jit
    def total(squares, state, x):
        return apply(squares, state, x, activation=Open())[0].sum()

    with jax.enable_x64(True):
        params, state = unshifted(name)
        squares = jax.tree.map(jnp.square, params)
        ones = np.ones((1, *TINY[name][1]))
        r, gradient = jax.jit(jax.value_and_grad(total))(squares, state, ones)
        shares = jax.tree.map(lambda s, g: float((s * g).sum()), squares, gradient)
    layers = {layer: share / float(r) for layer, share in masks.leaves(shares)}
    assert float(r) > 0
    for layer in CROSSED[name]:
        assert layers[f"{layer}/kernel"] == pytest.approx(1, rel=1e-10), layer
    assert all(0 < share <= 1 + 1e-10 for share in layers.values()), layers
