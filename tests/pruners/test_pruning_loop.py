"""The pruning loop: rounds, densities, what it reports and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_problem import problem

from ntk_prune import masks
from ntk_prune.pruners import controls, magnitude, prune, px, pxact, snip, synflow_l2
from ntk_prune.schedules import SCHEDULES
from ntk_prune.types import Pruner

KEY = jax.random.key(0)
PARAMS = {
    "a": {"kernel": jnp.arange(1.0, 101).reshape(10, 10)},
    "b": {"kernel": jnp.arange(201.0, 301).reshape(20, 5)},
}
DENSE = masks.ones_like(PARAMS)


def run(pruner, density, mask=DENSE):
    return prune(KEY, pruner, None, PARAMS, {}, mask, None, density)


def by_magnitude(schedule="exponential", num_rounds=1, scope="global") -> Pruner:
    return magnitude(scope)._replace(schedule=SCHEDULES[schedule], num_rounds=num_rounds)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_follows_the_schedule(schedule):
    _, info = run(by_magnitude(schedule, 4), 0.6)
    expected = [SCHEDULES[schedule](t, 4, 0.6) for t in range(1, 5)]
    np.testing.assert_allclose([r.density for r in info.rounds], expected, atol=0.5 / 200)
    assert [r.round for r in info.rounds] == [1, 2, 3, 4]
    assert all(r.kept == round(r.density * 200) for r in info.rounds)


@pytest.mark.filterwarnings("ignore:1 of 2 layers")
def test_continues_relative_to_a_pruned_mask():
    half, _ = run(by_magnitude(), 0.8)
    mask, info = run(by_magnitude("exponential", 2), 0.2, half)
    assert [r.density for r in info.rounds] == [0.4, 0.2]
    straight, _ = run(by_magnitude(), 0.2)
    for (_, a), (_, b) in zip(*map(masks.leaves, (mask, straight)), strict=True):
        np.testing.assert_array_equal(a, b)
    _, linear = run(by_magnitude("linear", 2), 0.2, half)
    assert [r.density for r in linear.rounds] == [0.5, 0.2]
    same, _ = run(by_magnitude("exponential", 3), masks.density(half), half)
    assert masks.layer_counts(same) == masks.layer_counts(half)


def test_collapsed_layers_are_named():
    with pytest.warns(UserWarning, match="1 of 2 layers have no weights left: a/kernel") as record:
        _, info = run(by_magnitude(), 0.5)
    assert len(record) == 1
    assert "\n" not in str(record[0].message)
    assert record[0].filename == __file__
    assert info.collapsed == ("a/kernel",)
    assert info.layer_counts == {"a/kernel": (0, 100), "b/kernel": (100, 100)}


def test_reports_quantiles_of_the_weights_that_entered_the_round():
    _, info = run(by_magnitude("linear", 2), 0.9)
    assert info.rounds[0].quantiles == (1.0, 51.0, 201.0, 250.0, 300.0)
    assert info.rounds[1].quantiles[0] == 11.0


def test_each_round_has_its_own_key_and_mask():
    seen = []

    def score(key, model, params, state, mask, batches):
        seen.append((jax.random.key_data(key).tolist(), masks.density(mask)))
        return jax.tree.map(jnp.abs, params)

    pruner = Pruner(score, SCHEDULES["exponential"], 3)
    run(pruner, 0.729)
    assert [d for _, d in seen] == pytest.approx([1.0, 0.9, 0.81])
    expected = [jax.random.key_data(jax.random.fold_in(KEY, t)).tolist() for t in (1, 2, 3)]
    assert [k for k, _ in seen] == expected


@pytest.mark.parametrize("inverted", [False, True])
def test_non_finite_scores_name_method_round_and_layer(inverted):
    layer, index = ("a", (0, 0)) if inverted else ("b", (19, 4))  # kept in the first round

    def broken():
        def score(key, model, params, state, mask, batches):
            bad = jnp.nan if masks.density(mask) < 0.9 else 1.0
            return {**params, layer: {"kernel": params[layer]["kernel"].at[index].multiply(bad)}}

        return Pruner(score, SCHEDULES["linear"], 3)

    pruner = controls.invert(broken()) if inverted else broken()
    pattern = f"broken, round 2 of 3: 1 of .* scores of {layer}/kernel are not finite"
    with pytest.raises(FloatingPointError, match=pattern):
        run(pruner, 0.6)


@pytest.mark.parametrize("density", [0.0, -0.1, 1.01, float("nan")])
def test_refuses_densities(density):
    with pytest.raises(ValueError, match=r"density must lie in \(0, 1\]"):
        run(by_magnitude(), density)


def test_refuses_a_density_that_keeps_nothing():
    with pytest.raises(ValueError, match=r"density 0.0001 keeps none of the [0-9]+ prunable"):
        run(by_magnitude(), 1e-4)


@pytest.mark.parametrize("density", np.linspace(0.05, 1.0, 39).tolist())
def test_a_mask_pruned_again_to_its_own_density_stays(density):
    mask, _ = run(by_magnitude(), density)
    again, _ = run(by_magnitude(), density, mask)
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (mask, again)), strict=True))


def test_refuses_to_grow_a_mask_and_a_mask_of_another_network():
    half, _ = run(by_magnitude(scope="layer"), 0.5)
    with pytest.raises(ValueError, match=r"mask of density 0.5 to density 0.6"):
        run(by_magnitude(), 0.6, half)
    with pytest.raises(ValueError, match="tree structure"):
        run(by_magnitude(), 0.5, {"a": DENSE["a"]})


@pytest.mark.filterwarnings("ignore:.*layers have no weights left")
@pytest.mark.parametrize("factory", [snip, px, pxact, synflow_l2])
def test_a_network_without_signal_keeps_zero_scores_and_says_so(factory):
    model, params, state, mask, batches = problem("relu", dtype=jnp.float32)
    dead = jax.tree.map(jnp.zeros_like, params)
    pruner = factory()._replace(num_rounds=2)
    score = pruner.score(KEY, model, dead, state, mask, batches)
    assert all(not s.any() for _, s in masks.leaves(score))
    message = f"{factory.__name__}: all scores are zero in 2 of 2 rounds, from round 1 on"
    with pytest.warns(UserWarning, match=message) as record:
        prune(KEY, pruner, model, dead, state, mask, batches, 0.5 * masks.density(mask))
    said = [w for w in record if "all scores are zero" in str(w.message)]
    assert len(said) == 1
    assert said[0].filename == __file__
