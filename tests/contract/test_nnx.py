"""Every criterion on a network that is no dict: an nnx module as ``Model(init, apply)``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ntk_prune import masks
from ntk_prune.checkpoint import load_tree, save_tree
from ntk_prune.pruners import PRUNERS, prune
from ntk_prune.types import Batch, Model

FOLLOW_PATHS = {"px", "synflow_l2"}
X = jax.random.normal(jax.random.key(3), (1, 4, 8, 8, 3))
Y = jnp.arange(4)[None]


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.head = nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.conv(x)).mean((1, 2)))


GRAPH, PARAMS = nnx.split(Net(nnx.Rngs(0)))


def apply(params, state, x, *, train, momentum=0.9, axis_name=None, activation=None):
    if activation is not None:
        raise ValueError("this network takes no activation")
    return nnx.merge(GRAPH, params)(x), state


NETWORK = Model(lambda key, x: (nnx.split(Net(nnx.Rngs(key)))[1], {}), apply)


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_masks_keep_exactly_what_is_asked_for(name):
    inputs = (PARAMS, {}, masks.ones_like(PARAMS), Batch(X, Y), 0.25)
    if name in FOLLOW_PATHS:
        with pytest.raises(ValueError, match="takes no activation"):
            prune(jax.random.key(1), PRUNERS[name](), NETWORK, *inputs)
        return
    mask, _ = prune(jax.random.key(1), PRUNERS[name](), NETWORK, *inputs)
    assert isinstance(mask, nnx.State)
    kept = sum(kept for kept, _ in masks.layer_counts(mask).values())
    assert kept == round(0.25 * (3 * 3 * 3 * 4 + 4 * 10))
    assert np.asarray(mask["head"]["bias"][...]).all()


def test_states_are_saved_by_their_paths(tmp_path):
    save_tree(tmp_path / "weights.safetensors", PARAMS)
    loaded = load_tree(tmp_path / "weights.safetensors")
    leaves = jax.tree_util.tree_flatten_with_path(PARAMS)[0]
    for path, leaf in leaves:
        value = loaded
        for name in masks.path_of(path):
            value = value[name]
        np.testing.assert_array_equal(value, leaf)
