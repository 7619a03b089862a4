"""``keep_top`` on any tree, with ties, at any density."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_prune import masks

SHAPES = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=4)
DENSITIES = st.floats(1e-6, 1.0)
SCOPES = st.sampled_from(masks.SCOPES)
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
    sizes = [m.size for m in kept(mask)]
    total = (
        sum(round(density * n) for n in sizes) if scope == "layer" else round(density * sum(sizes))
    )
    assert sum(m.sum() for m in kept(mask)) == total
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
    if scope != "erk":
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
    counts = masks.erk_counts([tuple(s) for s in shapes], total)
    assert sum(counts) == total
    assert all(0 <= c <= n for c, n in zip(counts, sizes, strict=True))
