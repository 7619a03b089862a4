"""The Vision Transformer: its laws, and which criteria take it."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import TINY, images, variables

from ntk_prune import masks
from ntk_prune.activations import Open, Record
from ntk_prune.models import vit
from ntk_prune.models.vit import attention
from ntk_prune.pruners import PRUNERS, prune
from ntk_prune.types import Batch

NETWORK, SHAPE = TINY["vit"]
PATCH = 4


def test_attention_of_one_head_by_hand():
    random = np.random.default_rng(0)
    q, k, v = random.standard_normal((3, 2, 5, 8))
    logits = q @ k.transpose(0, 2, 1) / np.sqrt(8)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    with jax.enable_x64(True):
        np.testing.assert_allclose(attention(q, k, v, 1), weights @ v, rtol=1e-12)
        halves = [attention(*(a[..., s] for a in (q, k, v)), 1) for s in (np.s_[:4], np.s_[4:])]
        np.testing.assert_allclose(attention(q, k, v, 2), np.concatenate(halves, -1), rtol=1e-12)


def test_patches_are_a_set_but_for_their_positions():
    params, state = variables("vit")
    x = images("vit", 2)
    swapped = np.concatenate([x[:, PATCH:], x[:, :PATCH]], axis=1)
    apply = jax.jit(functools.partial(NETWORK.apply, train=False))
    bare = params | {"positions": jnp.zeros_like(params["positions"])}
    same = apply(bare, state, x)[0], apply(bare, state, swapped)[0]
    np.testing.assert_allclose(*same, atol=1e-5)
    assert np.abs(apply(params, state, x)[0] - apply(params, state, swapped)[0]).max() > 1e-3


def test_every_linear_weight_is_prunable():
    params, _ = variables("vit")
    layers = [name.removesuffix("/kernel") for name, _ in masks.leaves(params)]
    inner = ("query", "key", "value", "out", "fc1", "fc2")
    assert sorted(layers) == sorted(
        ["embed", "fc", *(f"blocks_{i}/{name}" for i in range(2) for name in inner)]
    )


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="images of 9x8 do not divide into patches of 4"):
        jax.eval_shape(NETWORK.init, jax.random.key(0), jnp.zeros((1, 9, 8, 3)))


@pytest.mark.parametrize("activation", [Record(), Open()])
def test_there_are_no_paths(activation):
    with pytest.raises(ValueError, match="ViT has no paths to follow"):
        NETWORK.apply(*variables("vit"), images("vit"), train=False, activation=activation)


# Without differences between patches the attention's logits hardly matter to SynFlow and NTK-SAP.
@pytest.mark.filterwarnings("ignore:.*layers have no weights left")
@pytest.mark.parametrize("name", PRUNERS)
def test_criteria_run_or_refuse(name):
    options = {"num_rounds": 2, "num_draws": 1}
    accepted = inspect.signature(PRUNERS[name]).parameters
    pruner = PRUNERS[name](**{k: v for k, v in options.items() if k in accepted})
    params, state = variables("vit")
    batch = Batch(jnp.asarray(images("vit", 10)[None]), jnp.arange(10)[None] % 5)
    run = functools.partial(prune, jax.random.key(0), pruner, NETWORK, params, state)
    if pruner.follows_paths:
        with pytest.raises(ValueError, match="ViT has no paths to follow"):
            run(masks.ones_like(params), batch, density=0.5)
    else:
        mask, _ = run(masks.ones_like(params), batch, density=0.5)
        assert masks.density(mask) == pytest.approx(0.5, abs=1e-3)


def test_initial_weights():
    init = jax.jit(vit(depth=1, width=64, heads=2).init)
    params, _ = init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    for name, kernel in masks.leaves(params):
        assert kernel.std() == pytest.approx(0.02, rel=0.15), name
        assert np.abs(kernel).max() < 0.046, name
