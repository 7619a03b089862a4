"""MobileNet: depthwise layers as an independent computation has them, and under criteria."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ntk_prune import masks
from ntk_prune.activations import PLAIN
from ntk_prune.models import model
from ntk_prune.models.mobilenet import Separable
from ntk_prune.ntk import empirical_ntk
from ntk_prune.pruners import prune, px, snip
from ntk_prune.types import Batch

MODE = {"train": False, "momentum": 0.9, "axis_name": None, "activation": PLAIN}


def test_a_separable_block_by_hand():
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 5, 4, 3))
    block = Separable(6, stride=2)
    shapes = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, **MODE), x)
    tree = jax.tree.map(lambda s: random.uniform(0.5, 1.5, s.shape), shapes)
    depthwise, pointwise = (tree["params"][f"conv{i}"]["kernel"] for i in (1, 2))
    assert depthwise.shape == (3, 3, 1, 3)

    def norm(y, i):
        values, stats = tree["params"][f"bn{i}"], tree["batch_stats"][f"bn{i}"]
        y = (y - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * values["scale"] + values["bias"]
        return np.maximum(y, 0)

    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = range(0, 5, 2), range(0, 4, 2)
    window = np.array([[padded[:, i : i + 3, j : j + 3] for j in rows[1]] for i in rows[0]])
    y = norm(np.einsum("ijbklc,klc->bijc", window, depthwise[:, :, 0]), 1)
    expected = norm(y @ pointwise[0, 0], 2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(block.apply(tree, x, **MODE), expected, rtol=1e-12)


class Net(nn.Module):
    """Two separable blocks and a linear layer."""

    @nn.compact
    def __call__(self, x, *, train, activation=PLAIN):
        mode = MODE | {"train": train, "activation": activation}
        x = Separable(4, stride=2, name="blocks_0")(x, **mode)
        x = Separable(6, name="blocks_1")(x, **mode)
        return nn.Dense(3, name="fc")(x.mean((1, 2)))


@functools.cache
def problem():
    network = model(Net())
    x = jax.random.normal(jax.random.key(1), (6, 6, 6, 3))
    return network, *jax.jit(network.init)(jax.random.key(0), x), x


@pytest.mark.parametrize("pruner", [snip(), px(num_rounds=2)])
def test_depthwise_kernels_are_scored_and_pruned(pruner):
    network, params, state, x = problem()
    batch = Batch(x[None], jnp.arange(6)[None] % 3)
    dense = masks.ones_like(params)
    mask, _ = prune(jax.random.key(0), pruner, network, params, state, dense, batch, density=0.5)
    masks.check(params, mask)
    kept, total = masks.layer_counts(mask)["blocks_1/conv1/kernel"]
    assert total == 9 * 4
    assert 0 < kept < total


def test_the_kernel_of_depthwise_layers():
    network, params, state, x = problem()
    outputs = functools.partial(network.apply, state=state, x=x[:2], train=False)
    jacobian = jax.jit(jax.jacrev(lambda p: outputs(p)[0]))(params)
    rows = [np.asarray(j).reshape(2, 3, -1) for _, j in masks.leaves(jacobian)]
    expected = sum(np.einsum("aip,bjp->abij", j, j) for j in rows)
    kernel = empirical_ntk(
        network, params, x[:2], state=state, wrt="prunable", devices=jax.devices()[:1]
    )
    np.testing.assert_allclose(kernel, expected, atol=1e-5 * np.abs(expected).max())
