"""Masks: counts, structure, inert weights, and errors in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import masks
from ntk_prune.models import mlp

KEY = jax.random.key(3)
NET = mlp((7, 5), 4)


@pytest.fixture(scope="module")
def params():
    return NET.init(KEY, jnp.zeros((1, 6)))[0]


def scores_like(params, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: rng.standard_normal(p.shape), params)


def test_kernels_alone_are_prunable(params):
    assert masks.prunable(params)["fc0"] == {"bias": False, "kernel": True}
    assert [name for name, _ in masks.leaves(params)] == ["fc0/kernel", "fc1/kernel", "fc2/kernel"]
    assert not jax.tree.leaves(masks.only_prunable(params))[0].any()


def test_the_mask_of_ones_changes_nothing(params):
    dense = masks.ones_like(params)
    assert masks.density(dense) == 1.0
    for p, q in zip(*map(jax.tree.leaves, (params, masks.apply(params, dense))), strict=True):
        np.testing.assert_array_equal(p, q)


def test_pruned_weights_are_inert_bitwise(params):
    mask = masks.keep_top(scores_like(params), masks.ones_like(params), 0.4)
    spoiled = jax.tree.map(lambda p, m: jnp.where(m, p, 123.0), params, mask)
    x = jax.random.normal(KEY, (3, 6))
    for train in (False, True):
        outputs = [
            NET.apply(masks.apply(p, mask), {}, x, train=train)[0] for p in (params, spoiled)
        ]
        np.testing.assert_array_equal(*outputs)
    gradient = jax.grad(lambda p: NET.apply(masks.apply(p, mask), {}, x, train=False)[0].sum())
    for (_, g), (_, m) in zip(*map(masks.leaves, (gradient(spoiled), mask)), strict=True):
        assert not g[~m].any()


def test_apply_is_differentiable_in_the_float_mask(params):
    m = masks.as_float(masks.ones_like(params), params)
    gradient = jax.grad(lambda m: masks.apply(params, m)["fc0"]["kernel"].sum())(m)
    np.testing.assert_array_equal(gradient["fc0"]["kernel"], params["fc0"]["kernel"])


def test_densities_and_counts(params):
    mask = masks.ones_like(params)
    mask["fc1"]["kernel"] = mask["fc1"]["kernel"].at[:, 0].set(False)
    assert masks.layer_counts(mask) == {
        "fc0/kernel": (42, 42), "fc1/kernel": (28, 35), "fc2/kernel": (20, 20)
    }  # fmt: skip
    assert masks.layer_densities(mask)["fc1/kernel"] == 0.8
    assert masks.density(mask) == 90 / 97


def test_keep_top_keeps_the_largest(params):
    scores, dense = scores_like(params), masks.ones_like(params)
    kept = masks.keep_top(scores, dense, 0.25)
    values = np.concatenate([s.ravel() for _, s in masks.leaves(scores)])
    chosen = np.concatenate([np.asarray(m).ravel() for _, m in masks.leaves(kept)])
    assert chosen.sum() == round(0.25 * 97)
    assert values[chosen].min() > values[~chosen].max()


def test_keep_top_ignores_scores_of_pruned_weights(params):
    mask = masks.keep_top(scores_like(params), masks.ones_like(params), 0.5)
    spoiled = jax.tree.map(lambda s, m: np.where(m, s, np.nan), scores_like(params, 1), mask)
    again = masks.keep_top(spoiled, mask, 0.2)
    for (_, a), (_, m) in zip(*map(masks.leaves, (again, mask)), strict=True):
        assert not (a & ~m).any()


def test_erk_counts():
    shapes = [(3, 3, 3, 16), (3, 3, 16, 16), (64, 10)]
    sizes = [int(np.prod(s)) for s in shapes]
    counts = masks.erk_counts(shapes, 1000)
    assert sum(counts) == 1000
    assert all(0 < c <= n for c, n in zip(counts, sizes, strict=True))
    uncapped = [c for c, n in zip(counts, sizes, strict=True) if c < n]
    weights = [sum(s) for s, c, n in zip(shapes, counts, sizes, strict=True) if c < n]
    np.testing.assert_allclose(np.divide(uncapped, weights), uncapped[0] / weights[0], rtol=0.01)
    assert masks.erk_counts(shapes, sum(sizes)) == sizes


def test_shuffle_permutes_each_layer(params):
    mask = masks.keep_top(scores_like(params), masks.ones_like(params), 0.4)
    shuffled = masks.shuffle(KEY, mask)
    masks.check(params, shuffled)
    assert masks.layer_counts(shuffled) == masks.layer_counts(mask)
    assert any(
        (a != b).any() for (_, a), (_, b) in zip(*map(masks.leaves, (mask, shuffled)), strict=True)
    )
    again = masks.shuffle(KEY, mask)
    assert all(
        (a == b).all() for (_, a), (_, b) in zip(*map(masks.leaves, (again, shuffled)), strict=True)
    )


@pytest.mark.parametrize(
    ("density", "scope", "error", "message"),
    [
        (0.0, "global", ValueError, r"density must lie in \(0, 1\], got 0.0"),
        (1.5, "global", ValueError, "got 1.5"),
        (float("nan"), "global", ValueError, "got nan"),
        (0.5, "local", ValueError, "unknown scope 'local'; choose one of global, layer, erk"),
    ],
)
def test_keep_top_refuses(params, density, scope, error, message):
    with pytest.raises(error, match=message):
        masks.keep_top(scores_like(params), masks.ones_like(params), density, scope)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_scores_name_the_layer(params, bad):
    scores = scores_like(params)
    scores["fc1"]["kernel"][0, 0] = bad
    with pytest.raises(FloatingPointError, match="1 of 35 scores of fc1/kernel are not finite"):
        masks.keep_top(scores, masks.ones_like(params), 0.5)


def test_pruned_weights_do_not_come_back(params):
    mask = masks.keep_top(scores_like(params), masks.ones_like(params), 0.3)
    with pytest.raises(ValueError, match="cannot keep 48 of 97 weights: only 29 are left"):
        masks.keep_top(scores_like(params), mask, 0.5)


def test_check_names_what_does_not_fit(params):
    dense = masks.ones_like(params)
    masks.check(params, dense)
    with pytest.raises(ValueError, match="tree structure"):
        masks.check(params, {"fc0": dense["fc0"]})
    with pytest.raises(ValueError, match=r"fc0/bias: expected bool \(7,\), got float32"):
        masks.check(params, {**dense, "fc0": {**dense["fc0"], "bias": jnp.ones(7)}})
