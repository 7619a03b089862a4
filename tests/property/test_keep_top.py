"""``keep_top`` on any tree, with ties, at any density."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_prune import allocation, masks
from ntk_prune.pruners.lamp import lamp, normalised_squares

SHAPES = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=4)
DENSITIES = st.floats(1e-6, 1.0)
SCOPES = st.sampled_from([scope for scope in masks.SCOPES if scope != "uniform_plus"])
FEW_VALUES = st.integers(1, 4)  # how many different scores: 1 makes everything a tie


def tree(shapes, seed, values):
    """Nested scores in few values, beside a bias that is never pruned."""
    rng = np.random.default_rng(seed)
    layers = {
        f"l{i}": {"kernel": rng.integers(0, values, s).astype(float), "bias": np.zeros(2)}
        for i, s in enumerate(shapes)
    }
    return {"outer": layers, "scale": np.zeros(3)}


def kept(mask):
    return [np.asarray(m) for _, m in masks.leaves(mask)]


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.integers(0, 99), FEW_VALUES, DENSITIES, SCOPES)
def test_exact_count_and_order(shapes, seed, values, density, scope):
    scores = tree(shapes, seed, values)
    mask = masks.keep_top(scores, masks.ones_like(scores), density, scope)
    masks.check(scores, mask)
    counts, shapes = [m.sum() for m in kept(mask)], [m.shape for m in kept(mask)]
    if scope == "global":
        assert sum(counts) == round(density * sum(m.size for m in kept(mask)))
    else:
        assert counts == allocation.ALLOCATIONS[scope](shapes, density)
    assert np.asarray(mask["scale"]).all()
    groups = list(zip(masks.leaves(scores), kept(mask), strict=True))
    groups = [(s.ravel(), m.ravel()) for (_, s), m in groups]
    if scope == "global":
        groups = [tuple(np.concatenate(part) for part in zip(*groups, strict=True))]
    for s, m in groups:
        if 0 < m.sum() < m.size:
            assert s[m].min() >= s[~m].max()
            tie = s == s[m].min()
            assert (np.diff(m[tie].astype(int)) <= 0).all()  # lower indices first


@settings(deadline=None, max_examples=40)
@given(SHAPES, st.integers(0, 99), FEW_VALUES, DENSITIES, DENSITIES, SCOPES)
def test_nested_and_idempotent(shapes, seed, values, a, b, scope):
    high, low = max(a, b), min(a, b)
    scores = tree(shapes, seed, values)
    first = masks.keep_top(scores, masks.ones_like(scores), high, scope)
    for x, y in zip(kept(masks.keep_top(scores, first, high, scope)), kept(first), strict=True):
        np.testing.assert_array_equal(x, y)
    if not scope.startswith("erk"):
        second = masks.keep_top(tree(shapes, seed + 1, values), first, low, scope)
        assert all(not (x & ~y).any() for x, y in zip(kept(second), kept(first), strict=True))


@settings(deadline=None, max_examples=40)
@given(SHAPES, st.integers(0, 99), DENSITIES, SCOPES, st.integers(-30, 30))
def test_positive_scale_does_not_matter(shapes, seed, density, scope, exponent):
    scores = tree(shapes, seed, 1000)
    scaled = {
        "outer": {
            name: {"kernel": layer["kernel"] * 2.0**exponent, "bias": layer["bias"]}
            for name, layer in scores["outer"].items()
        },
        "scale": scores["scale"],
    }
    dense = masks.ones_like(scores)
    for x, y in zip(
        *(kept(masks.keep_top(s, dense, density, scope)) for s in (scores, scaled)), strict=True
    ):
        np.testing.assert_array_equal(x, y)


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.floats(0.0, 1.0))
def test_erk_counts_sum_exactly_and_fit(shapes, density):
    sizes = [int(np.prod(s)) for s in shapes]
    total = round(density * sum(sizes))
    counts = allocation.erk_counts([tuple(s) for s in shapes], total)
    assert sum(counts) == total
    assert all(0 <= c <= n for c, n in zip(counts, sizes, strict=True))


@settings(deadline=None, max_examples=80)
@given(SHAPES, st.floats(0.01, 1.0), st.sampled_from(sorted(allocation.ALLOCATIONS)))
def test_counts_fit_and_are_near_the_density(shapes, density, scope):
    shapes = [tuple(s) for s in shapes]
    sizes = [int(np.prod(s)) for s in shapes]
    try:
        counts = allocation.ALLOCATIONS[scope](shapes, density)
    except ValueError:
        assert scope == "uniform_plus"  # which may have to keep more
        return
    assert all(0 <= c <= n for c, n in zip(counts, sizes, strict=True))
    assert abs(sum(counts) - density * sum(sizes)) <= (len(sizes) + 1) / 2
    if scope != "erk_rounded":  # whose rounding may drop a weight of a tiny layer
        assert allocation.ALLOCATIONS[scope](shapes, 1.0) == sizes


@settings(deadline=None, max_examples=60)
@given(SHAPES, DENSITIES, DENSITIES, st.sampled_from(["layer", "uniform", "erk", "erk_rounded"]))
def test_more_density_keeps_no_less(shapes, a, b, scope):
    allocate, shapes = allocation.ALLOCATIONS[scope], [tuple(s) for s in shapes]
    low, high = (np.array(allocate(shapes, d)) for d in sorted((a, b)))
    slack = len(shapes) if scope.startswith("erk") else 0  # the remainders move between layers
    assert (low <= high + slack).all()


@settings(deadline=None, max_examples=60)
@given(SHAPES, DENSITIES)
def test_erk_shares_in_proportion_to_the_sum_of_dimensions(shapes, density):
    """By its definition: one factor for all layers that are not whole, to rounding."""
    shapes = [tuple(s) for s in shapes]
    for scope, error in (("erk", 1.0), ("erk_rounded", 0.5)):
        counts = allocation.ALLOCATIONS[scope](shapes, density)
        free = [i for i, s in enumerate(shapes) if counts[i] < np.prod(s)]
        bounds = [((counts[i] - error) / sum(shapes[i]), (counts[i] + error) / sum(shapes[i]))
                  for i in free]  # fmt: skip
        assert not free or max(low for low, _ in bounds) <= min(high for _, high in bounds) + 1e-9


WEIGHTS = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@settings(deadline=None, max_examples=80)
@given(WEIGHTS, st.integers(0, 99))
def test_lamp_by_brute_force(weights, seed):
    w = np.array(weights, float)
    left = np.random.default_rng(seed).random(w.size) < 0.8
    for i, score in enumerate(normalised_squares(w, left)):

        def not_smaller(j, i=i):  # ties: the lower index counts as larger
            return left[j] and (abs(w[j]), -j) >= (abs(w[i]), -i)

        total = sum(w[j] ** 2 for j in range(w.size) if not_smaller(j))
        assert score == pytest.approx(w[i] ** 2 / total if left[i] and total else 0.0)


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.integers(0, 99), DENSITIES, st.integers(-9, 9))
def test_lamp_ranks_a_layer_by_magnitude_and_does_not_see_its_scale(shapes, seed, density, power):
    weights = tree(shapes, seed, 1000)
    dense = masks.ones_like(weights)

    def pruned(weights):
        scores = lamp().score(None, None, weights, {}, dense, None)
        return kept(masks.keep_top(scores, dense, density))

    with jax.enable_x64(True):
        once = pruned(weights)
        for (_, w), m in zip(masks.leaves(weights), once, strict=True):
            if 0 < m.sum() < m.size:
                assert np.abs(w[m]).min() >= np.abs(w[~m]).max()
        first = weights["outer"]["l0"]
        first["kernel"] = first["kernel"] * 2.0**power
        for x, y in zip(once, pruned(weights), strict=True):
            np.testing.assert_array_equal(x, y)
