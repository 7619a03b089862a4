"""Morphisms keep patterns, densities and, where weights are split, the function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import lottery, masks
from ntk_prune.lottery.morphisms import spread_blocks
from ntk_prune.models import lenet5, mlp, resnet

KEY = jax.random.key(0)
X = jax.random.normal(KEY, (4, 8, 8, 3))
PAIRS = {
    "mlp": (mlp((6, 5), 3), mlp((12, 15), 3)),
    "lenet5": (lenet5(3), lenet5(3, 2)),
    "resnet": (resnet(8, 2, 3), resnet(8, 6, 3)),
}


def variables(model):
    return jax.jit(model.init)(KEY, X)


def random_mask(params, density=0.4):
    return lottery.randomly_prune(
        KEY, masks.keep_top(params, masks.ones_like(params), density), "global"
    )


@pytest.mark.parametrize("name", PAIRS)
def test_a_wide_mask_has_the_density_of_every_layer(name):
    narrow, wide = (variables(model)[0] for model in PAIRS[name])
    mask = random_mask(narrow)
    widened = lottery.widen(mask, wide)
    masks.check(wide, widened)
    assert masks.layer_densities(widened) == pytest.approx(masks.layer_densities(mask))


def test_every_wide_unit_has_the_pattern_of_its_parent():
    narrow, wide = (variables(model)[0] for model in PAIRS["mlp"])
    mask = random_mask(narrow)
    old, new = (t["fc1"]["kernel"] for t in (mask, lottery.widen(mask, wide)))
    for j in range(15):
        np.testing.assert_array_equal(new[:, j], np.repeat(old[:, j // 3], 2))


@pytest.mark.parametrize("name", PAIRS)
def test_split_units_compute_the_same_function(name):
    (narrow, wide) = PAIRS[name]
    params, state = variables(narrow)
    wide_params, wide_state = variables(wide)
    mask = random_mask(params)
    expected, _ = narrow.apply(masks.apply(params, mask), state, X, train=False)
    split = lottery.split_units(KEY, params, wide_params)
    logits, _ = wide.apply(
        masks.apply(split, lottery.widen(mask, wide_params)),
        lottery.widen(state, wide_state), X, train=False,
    )  # fmt: skip
    np.testing.assert_allclose(logits, expected, rtol=2e-4, atol=1e-5)


def test_noise_breaks_the_symmetry_of_copies():
    narrow, wide = (variables(model)[0] for model in PAIRS["mlp"])
    equal, different = (
        lottery.split_units(KEY, narrow, wide, n)["fc0"]["kernel"] for n in (0, 1e-2)
    )
    np.testing.assert_array_equal(equal[:, 0], equal[:, 1])
    rms = float(jnp.sqrt(jnp.square(equal).mean()))
    spread = float(jnp.abs(different - equal).mean())
    assert 0.2e-2 * rms < spread < 3e-2 * rms


def test_widths_that_are_no_multiple_are_refused():
    narrow, _ = PAIRS["mlp"]
    with pytest.raises(ValueError, match=r"fc0/(bias|kernel): .* is no whole multiple"):
        lottery.widen(variables(narrow)[0], variables(mlp((7, 5), 3))[0])
    with pytest.raises(ValueError, match="more than their widths"):
        lottery.widen(variables(narrow)[0], variables(mlp((12,), 3))[0])


@pytest.mark.parametrize(("old", "new"), [(14, 20), (20, 14), (20, 20), (20, 32)])
def test_a_changed_depth_fits_the_network_and_copies_blocks(old, new):
    before, after = (variables(resnet(d, 2, 3)) for d in (old, new))
    params = lottery.change_depth(before[0], new)
    state = {name: lottery.change_depth(tree, new) for name, tree in before[1].items()}
    assert jax.tree.map(jnp.shape, (params, state)) == jax.tree.map(jnp.shape, after)
    n, m = (old - 2) // 6, (new - 2) // 6
    for i in range(3 * m):
        stage, position = divmod(i, m)
        source = before[0][f"blocks_{stage * n + spread_blocks(n, m)[position]}"]
        jax.tree.map(np.testing.assert_array_equal, params[f"blocks_{i}"], source)


def test_the_same_depth_changes_nothing():
    params, _ = variables(resnet(14, 2, 3))
    jax.tree.map(np.testing.assert_array_equal, lottery.change_depth(params, 14), params)


def test_shuffled_copies_keep_their_counts():
    params, _ = variables(resnet(14, 4, 3))
    mask = random_mask(params)
    plain = lottery.change_depth(mask, 20)
    shuffled = lottery.change_depth(mask, 20, key=KEY)
    assert masks.layer_counts(shuffled) == masks.layer_counts(plain)
    same = {
        name: all((a == b).all() for a, b in zip(*map(jax.tree.leaves, pair), strict=True))
        for name, pair in ((n, (plain[n], shuffled[n])) for n in plain)
    }
    assert [name for name, equal in same.items() if not equal] == [
        "blocks_2",
        "blocks_5",
        "blocks_8",
    ]


@pytest.mark.parametrize(
    ("depth", "mapping", "message"),
    [
        (21, (), "6n\\+2"),
        (20, (0, 1), "expected 3 positions"),
        (20, (0, 1, 2), "from 0 to 1"),
        (20, (1, 1, 1), "the first of them 0"),
        (20, (0, 0, 1), "cannot be repeated"),
    ],
)
def test_mappings_that_cannot_be_are_refused(depth, mapping, message):
    params, _ = variables(resnet(14, 2, 3))
    with pytest.raises(ValueError, match=message):
        lottery.change_depth(params, depth, mapping)


def test_networks_without_residual_blocks_are_refused():
    with pytest.raises(ValueError, match="CIFAR ResNets"):
        lottery.change_depth(variables(mlp((3,), 2))[0], 20)
    with pytest.raises(ValueError, match="none that could be repeated"):
        lottery.change_depth(variables(resnet(8, 2, 3))[0], 14)
