"""Masks: counts, structure, inert weights, and errors in one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import allocation, masks
from ntk_prune.models import mlp, preresnet

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


def test_excluded_modules_are_neither_ranked_nor_counted(params):
    conv_only = masks.excluding(params, ["fc2"])
    mask = masks.keep_top(scores_like(params), masks.ones_like(params), 0.25, is_prunable=conv_only)
    assert mask["fc2"]["kernel"].all()
    assert masks.density(mask, conv_only) == round(0.25 * 77) / 77
    assert masks.density(mask) == (round(0.25 * 77) + 20) / 97
    assert list(masks.layer_counts(mask, conv_only)) == ["fc0/kernel", "fc1/kernel"]
    with pytest.raises(ValueError, match="no weights to exclude lie under 'fc'"):
        masks.excluding(params, ["fc"])
    with pytest.raises(ValueError, match="nothing is left to prune without fc0, fc1, fc2"):
        masks.excluding(params, ["fc0", "fc1", "fc2"])


def test_uniform_plus_goes_by_depth_not_by_name(params):
    network = preresnet(8, 1 / 8)
    x = jnp.zeros((1, 8, 8, 1))
    order = masks.layers_by_depth(network, x)
    assert (order[0], order[-1]) == ("conv1/kernel", "fc/kernel")
    assert order[4:6] == ["layer2_0/conv2/kernel", "layer2_0/shortcut_conv/kernel"]
    shapes, _ = jax.eval_shape(network.init, KEY, x)
    scores = jax.tree.map(lambda s: np.random.default_rng(s.size).random(s.shape), shapes)
    mask = masks.keep_top(scores, masks.ones_like(scores), 0.05, "uniform_plus", order=order)
    densities = masks.layer_densities(mask)
    assert densities["conv1/kernel"] == 1.0
    assert densities["fc/kernel"] == 0.2
    assert all(d < 0.1 for name, d in densities.items() if name not in (order[0], order[-1]))


def test_uniform_plus_refuses_what_it_cannot_keep():
    shapes = [(3, 3, 8, 16), (16, 10)]
    with pytest.raises(ValueError, match=r"density 0\.5 is too low for scope 'uniform_plus'"):
        allocation.uniform_plus(shapes, 0.5)


PRERESNET20_UNIFORM = {
    0.05: 13512, 0.06: 16215, 0.07: 18913, 0.08: 21618, 0.1: 27023, 0.14: 37837, 0.2: 54052,
    0.4: 108105, 0.8: 216204,
}  # fmt: skip


def test_uniform_counts_of_preresnet_20_are_the_published_ones():
    params, _ = jax.eval_shape(preresnet(20).init, KEY, jnp.zeros((1, 32, 32, 3)))
    convolutions = masks.leaves(params, masks.excluding(params, ["fc"]))
    shapes = [leaf.shape for _, leaf in convolutions]
    assert sum(leaf.size for _, leaf in convolutions) == 270_256
    for density, kept in PRERESNET20_UNIFORM.items():
        assert sum(allocation.uniform(shapes, density)) == kept
    assert allocation.uniform([params["conv1"]["kernel"].shape], 0.05) == [22]


def test_erk_counts():
    shapes = [(3, 3, 3, 16), (3, 3, 16, 16), (64, 10)]
    sizes = [int(np.prod(s)) for s in shapes]
    counts = allocation.erk_counts(shapes, 1000)
    assert sum(counts) == 1000
    assert all(0 < c <= n for c, n in zip(counts, sizes, strict=True))
    uncapped = [c for c, n in zip(counts, sizes, strict=True) if c < n]
    weights = [sum(s) for s, c, n in zip(shapes, counts, sizes, strict=True) if c < n]
    np.testing.assert_allclose(np.divide(uncapped, weights), uncapped[0] / weights[0], rtol=0.01)
    assert allocation.erk_counts(shapes, sum(sizes)) == sizes


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
        (0.5, "uniform_plus", ValueError, "needs the order of the layers"),
        (0.5, "local", ValueError, "unknown scope 'local'; choose one of global, layer, uniform,"),
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
