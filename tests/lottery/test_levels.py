"""Levels: exact densities, nested masks, rewinding bit for bit, rescaling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import lottery, masks, training
from ntk_prune.models import mlp
from ntk_prune.pruners import magnitude
from ntk_prune.rng import stream
from ntk_prune.types import Batch

KEY = jax.random.key(0)
MODEL = mlp((12, 7), 3)
X = jax.random.normal(KEY, (1, 10, 9))
BATCHES = Batch(X, jax.random.randint(KEY, (1, 10), 0, 3))
PARAMS, STATE = MODEL.init(KEY, X[0])
CHEAP = {"ntksap": {"num_rounds": 2}, "synflow": {"num_rounds": 3}, "itersnip": {"num_rounds": 2}}


def levels(pruner, fraction, number, params=PARAMS):
    found = [masks.ones_like(params)]
    for level in range(1, number + 1):
        key = jax.random.fold_in(KEY, level)
        mask, _ = lottery.next_mask(
            key, pruner, MODEL, params, STATE, found[-1], BATCHES, fraction, level
        )
        found.append(mask)
    return found


def kept(mask):
    return sum(int(m.sum()) for _, m in masks.leaves(mask))


@pytest.mark.parametrize("name", lottery.STRATEGIES)
def test_masks_of_every_strategy_are_nested_and_exact(name):
    """The fraction is honoured, whatever it is."""
    n = kept(masks.ones_like(PARAMS))
    pruner = lottery.STRATEGIES[name](**CHEAP.get(name, {}))
    found = levels(pruner, 0.3, 4)
    for level, (mask, before) in enumerate(zip(found[1:], found, strict=False), start=1):
        assert jax.tree.all(jax.tree.map(lambda a, b: jnp.all(b | ~a), mask, before))
        counts = masks.layer_counts(mask).values()
        if pruner.scope == "global":
            assert kept(mask) == round(0.7**level * n)
        else:
            assert all(k == round(0.7**level * total) for k, total in counts)


def test_the_smallest_weights_go():
    mask = levels(magnitude(), 0.2, 1)[1]
    pairs = [(jnp.abs(p), m) for (_, p), (_, m) in zip(
        masks.leaves(PARAMS), masks.leaves(mask), strict=True
    )]  # fmt: skip
    lowest_kept = min(float(p[m].min()) for p, m in pairs)
    highest_gone = max(float(p[~m].max()) for p, m in pairs if (~m).any())
    assert highest_gone < lowest_kept


def test_one_level_of_an_iterated_criterion_takes_all_its_rounds():
    pruner = lottery.STRATEGIES["synflow"](num_rounds=5)
    mask = masks.ones_like(PARAMS)
    _, info = lottery.next_mask(KEY, pruner, MODEL, PARAMS, STATE, mask, BATCHES, 0.5, 1)
    assert len(info.rounds) == 5


@pytest.mark.parametrize("name", training.OPTIMISERS)
def test_rewinding_keeps_survivors_bit_for_bit_and_the_rest_of_the_state(name):
    optimizer = training.OPTIMISERS[name](0.1)
    state = training.create(PARAMS, STATE, masks.ones_like(PARAMS), optimizer)
    gradient = jax.tree.map(jnp.sin, PARAMS)
    _, moments = optimizer.update(gradient, state.opt_state, PARAMS)
    state = state._replace(opt_state=moments, step=jnp.asarray(7))
    mask = levels(magnitude(), 0.4, 1)[1]
    rewound = lottery.rewind(state, mask)
    assert int(rewound.step) == 7
    bits = lambda a: np.asarray(a).view(np.uint32)  # noqa: E731
    trees = [(state.params, rewound.params)]
    like = jax.tree.structure(PARAMS)
    is_params = lambda t: jax.tree.structure(t) == like  # noqa: E731
    trees += [
        pair
        for pair in zip(
            *(jax.tree.leaves(s.opt_state, is_leaf=is_params) for s in (state, rewound)),
            strict=True,
        )
        if is_params(pair[0])
    ]
    assert len(trees) == {"sgd": 2, "adam": 3, "adamw": 3}[name]
    for before, after in trees:
        for b, a, m in zip(*map(jax.tree.leaves, (before, after, mask)), strict=True):
            m = np.asarray(m)
            np.testing.assert_array_equal(bits(a)[m], bits(b)[m])
            assert not np.asarray(a)[~m].any()


def test_rewinding_wants_a_mask_that_fits():
    state = training.create(PARAMS, STATE, masks.ones_like(PARAMS), training.sgd(0.1))
    with pytest.raises(ValueError, match="structure"):
        lottery.rewind(state, {"fc0": masks.ones_like(PARAMS)["fc0"]})


def test_rescaling_restores_the_variance_of_a_randomly_pruned_layer():
    density = 0.25
    rescaled = lottery.rescale(PARAMS, density)
    for (_, a), (_, b) in zip(masks.leaves(rescaled), masks.leaves(PARAMS), strict=True):
        np.testing.assert_allclose(a, 2 * b, rtol=1e-6)
    np.testing.assert_array_equal(rescaled["fc0"]["bias"], PARAMS["fc0"]["bias"])
    keys = jax.random.split(KEY, 3)
    w = {"kernel": jax.random.normal(keys[0], (400, 400))}
    scores = {"kernel": jax.random.uniform(keys[1], (400, 400))}
    mask = masks.keep_top(scores, masks.ones_like(w), density)
    x = jax.random.normal(keys[2], (400,))
    pruned = masks.apply(lottery.rescale(w, density), mask)["kernel"]
    assert float(jnp.var(x @ pruned)) == pytest.approx(float(jnp.var(x @ w["kernel"])), rel=0.25)


def test_replicates_share_no_key():
    keys = {
        tuple(jax.random.key_data(stream(seed, name)).tolist())
        for seed in range(3)
        for name in ("init", "data", "augment", "score", "mask")
    }
    assert len(keys) == 15


@pytest.mark.parametrize("name", ["sparse_global", "sparse_layerwise"])
def test_a_level_that_rounds_to_the_one_before_keeps_it(name):
    """A count rounded down may be less than what the next level asks for."""
    fraction, n = 0.003, kept(masks.ones_like(PARAMS))
    found = [kept(mask) for mask in levels(lottery.STRATEGIES[name](), fraction, 8)]
    assert found == sorted(found, reverse=True)
    if name == "sparse_global":
        assert found == [round((1 - fraction) ** k * n) for k in range(9)]
