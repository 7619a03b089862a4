"""What every criterion must do: those of the one table, and the example of CONTRIBUTING.md.

No criterion is named: what holds for some only follows from their options or from what they do.
"""

import functools
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from example import contributed

from ntk_prune import allocation, masks
from ntk_prune.models import mlp, resnet
from ntk_prune.pruners import PRUNERS, controls, prune
from ntk_prune.types import Batch, BatchNormMode, Model, Pruner

CRITERIA = {**PRUNERS, "mine": contributed()}
NETWORKS = {"mlp": (mlp((12, 9), 5), (4, 4, 2)), "resnet": (resnet(8, 2, 5), (8, 8, 3))}
ROUNDS = {"num_rounds": 3}
KEY = jax.random.key(7)

pytestmark = pytest.mark.filterwarnings("ignore:.*layers have no weights left")


def options_of(name: str) -> dict[str, inspect.Parameter]:
    """The options of a criterion by name."""
    return dict(inspect.signature(CRITERIA[name]).parameters)


def with_option(option: str, annotation=None) -> list[str]:
    """The criteria that have an ``option``, of that type if one is given."""
    have = {name: options_of(name).get(option) for name in CRITERIA}
    return [n for n, o in have.items() if o is not None and annotation in (None, o.annotation)]


def build(name: str, **options) -> Pruner:
    """The criterion with three rounds where it has rounds, and two draws where it draws."""
    wanted = {**ROUNDS, "num_draws": 2, **options}
    accepted = options_of(name)
    return CRITERIA[name](**{k: v for k, v in wanted.items() if k in accepted})


@functools.cache
def problem(network: str = "mlp"):
    """``(model, params, state, batches)`` with two batches of six examples."""
    net, shape = NETWORKS[network]
    x = jax.random.normal(jax.random.key(1), (2, 6, *shape))
    y = jax.random.randint(jax.random.key(2), (2, 6), 0, 5)
    params, state = jax.jit(net.init)(jax.random.key(0), x[0])
    return net, params, state, Batch(x, y)


def half_mask(params):
    """A random mask of density one half."""
    dense = masks.ones_like(params)
    return prune(KEY, PRUNERS["random"](), None, params, {}, dense, None, 0.5)[0]


def equal(a, b) -> bool:
    return all(
        np.array_equal(p, q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


every_criterion = pytest.mark.parametrize("name", CRITERIA)


@every_criterion
def test_signature(name):
    pruner = CRITERIA[name]()
    expected = ["key", "model", "params", "state", "mask", "batches"]
    assert list(inspect.signature(pruner.score).parameters) == expected
    assert list(inspect.signature(controls.invert(pruner).score).parameters) == expected
    assert CRITERIA[name].__name__ == name
    for option in options_of(name).values():
        assert option.default is not option.empty
        assert option.annotation is not option.empty
        assert f"\n    {option.name}: " in inspect.getdoc(CRITERIA[name])


@every_criterion
@pytest.mark.parametrize("network", NETWORKS)
def test_scores_have_the_tree_of_params_and_are_finite(name, network):
    net, params, state, batches = problem(network)
    mask = half_mask(params)
    scores = build(name).score(KEY, net, params, state, mask, batches)
    assert jax.tree.structure(scores) == jax.tree.structure(params)
    prunable = jax.tree.leaves(masks.prunable(params))
    for s, p, scored in zip(
        jax.tree.leaves(scores), jax.tree.leaves(params), prunable, strict=True
    ):
        assert (s.shape, s.dtype) == (p.shape, p.dtype)
        assert np.isfinite(s).all()
        assert bool((np.asarray(s) != 0).any()) is scored


@every_criterion
def test_prunes_to_the_exact_count_and_nests(name):
    net, params, state, batches = problem()
    dense = masks.ones_like(params)
    before = jax.tree.map(np.array, (params, state))
    mask, info = prune(KEY, build(name), net, params, state, dense, batches, 0.3)
    total = sum(m.size for _, m in masks.leaves(mask))
    kept = sum(int(m.sum()) for _, m in masks.leaves(mask))
    assert kept == round(0.3 * total) == info.rounds[-1].kept
    assert info.layer_counts == masks.layer_counts(mask)
    masks.check(params, mask)
    for (_, m), prunable in zip(
        jax.tree_util.tree_flatten_with_path(mask)[0],
        jax.tree.leaves(masks.prunable(mask)),
        strict=True,
    ):
        assert prunable or m.all()
    assert equal(before, (params, state))
    again, _ = prune(KEY, build(name), net, params, state, mask, batches, 0.1)
    for (_, sparse), (_, dense_) in zip(masks.leaves(again), masks.leaves(mask), strict=True):
        assert not (sparse & ~dense_).any()


@every_criterion
def test_masks_nest_over_rounds(name):
    net, params, state, batches = problem()
    pruner, seen = build(name), []

    def recording(key, model, params, state, mask, batches):
        seen.append(mask)
        return pruner.score(key, model, params, state, mask, batches)

    iterated = pruner._replace(score=recording, num_rounds=4, schedule=lambda t, T, d: d ** (t / T))
    final, info = prune(KEY, iterated, net, params, state, masks.ones_like(params), batches, 0.2)
    counts = [round_.kept for round_ in info.rounds]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 4
    for before, after in zip(seen, [*seen[1:], final], strict=True):
        for (_, b), (_, a) in zip(masks.leaves(before), masks.leaves(after), strict=True):
            assert not (a & ~b).any()


@every_criterion
def test_deterministic_in_the_key(name):
    net, params, state, batches = problem()
    dense = masks.ones_like(params)

    def pruned(seed):
        return prune(jax.random.key(seed), build(name), net, params, state, dense, batches, 0.3)[0]

    assert equal(pruned(0), pruned(0))
    try:
        build(name).score(None, net, params, state, dense, batches)
    except TypeError:  # it draws from its key
        assert not equal(pruned(0), pruned(1))
    else:
        assert equal(pruned(0), pruned(1))


@every_criterion
def test_pruned_weights_do_not_matter(name):
    net, params, state, batches = problem()
    mask = half_mask(params)
    spoiled = jax.tree.map(lambda p, m: jnp.where(m, p, 123.0), params, mask)

    def kept_scores(params):
        scores = build(name).score(KEY, net, params, state, mask, batches)
        pairs = zip(masks.leaves(scores), masks.leaves(mask), strict=True)
        return np.concatenate([np.asarray(s)[np.asarray(m)] for (_, s), (_, m) in pairs])

    # Their scale does not rank: SNIP's, as published, counts pruned positions.
    ours, other = (s / np.abs(s).max() for s in (kept_scores(params), kept_scores(spoiled)))
    np.testing.assert_allclose(ours, other, rtol=1e-5)


@every_criterion
def test_traced_once_for_all_rounds(name):
    net, params, state, batches = problem()
    traces = []

    def apply(*args, **kwargs):
        traces.append(None)
        return net.apply(*args, **kwargs)

    counting, dense = Model(net.init, apply), masks.ones_like(params)
    pruner = build(name)._replace(num_rounds=1)
    mask, _ = prune(KEY, pruner, counting, params, state, dense, batches, 0.9)
    first = len(traces)
    if not first:  # then it looks at the weights alone
        alone, _ = prune(KEY, pruner, None, params, state, dense, batches, 0.9)
        assert equal(alone, mask)
    prune(KEY, pruner._replace(num_rounds=3), counting, params, state, mask, batches, 0.2)
    assert len(traces) == first


@every_criterion
def test_inverted_keeps_what_is_pruned(name):
    net, params, state, batches = problem()
    dense = masks.ones_like(params)
    pruner = build(name)._replace(num_rounds=1)
    kept, _ = prune(KEY, pruner, net, params, state, dense, batches, 0.5)
    worst, _ = prune(KEY, controls.invert(pruner), net, params, state, dense, batches, 0.5)
    assert masks.density(kept) == masks.density(worst)
    overlap = sum(
        int((a & b).sum()) for (_, a), (_, b) in zip(*map(masks.leaves, (kept, worst)), strict=True)
    )
    scores = pruner.score(jax.random.fold_in(KEY, 1), net, params, state, dense, batches)
    values = np.concatenate([np.ravel(s) for _, s in masks.leaves(scores)])
    ties = values.size - np.unique(values).size  # units that are off in every image score zero
    assert overlap <= ties < 0.1 * values.size


@every_criterion
def test_shuffled_mask_keeps_the_layer_counts_alone(name):
    net, params, state, batches = problem()
    mask, _ = prune(KEY, build(name), net, params, state, masks.ones_like(params), batches, 0.4)
    shuffled = masks.shuffle(KEY, mask)
    assert masks.layer_counts(shuffled) == masks.layer_counts(mask)
    assert not equal(shuffled, mask)


@every_criterion
@pytest.mark.parametrize("scope", allocation.ALLOCATIONS)
def test_scopes(name, scope):
    net, params, state, batches = problem()
    dense = masks.ones_like(params)
    _, info = prune(KEY, build(name, scope=scope), net, params, state, dense, batches, 0.3)
    counts = [kept for kept, _ in info.layer_counts.values()]
    shapes = [p.shape for _, p in masks.leaves(params)]  # of this network, in the order of depth
    assert counts == allocation.ALLOCATIONS[scope](shapes, 0.3)


@pytest.mark.parametrize("name", with_option("exclude"))
def test_excluded_modules_stay_whole(name):
    net, params, state, batches = problem()
    pruner, dense = CRITERIA[name](exclude=("fc2",)), masks.ones_like(params)
    mask, info = prune(KEY, pruner, net, params, state, dense, batches, 0.3)
    assert mask["fc2"]["kernel"].all()
    assert list(info.layer_counts) == ["fc0/kernel", "fc1/kernel"]
    total = sum(total for _, total in info.layer_counts.values())
    assert info.rounds[-1].kept == round(0.3 * total)
    again, _ = prune(KEY, pruner, net, params, state, mask, batches, 0.3)
    assert equal(again, mask)
    with pytest.raises(ValueError, match="no weights to exclude lie under 'classifier'"):
        prune(KEY, CRITERIA[name](exclude=("classifier",)), net, params, state, dense, batches, 0.3)


@every_criterion
def test_names_the_option_that_is_wrong(name):
    with pytest.raises(ValueError, match=r"scope.*globl.*global, layer, uniform,"):
        CRITERIA[name](scope="globl")
    with pytest.raises(TypeError, match="num_round_"):
        CRITERIA[name](num_round_=3)
    if "num_rounds" in options_of(name):
        with pytest.raises(ValueError, match="num_rounds must be at least 1, got 0"):
            CRITERIA[name](num_rounds=0)
        with pytest.raises(ValueError, match="schedule 'cubic'"):
            CRITERIA[name](schedule="cubic")


@pytest.mark.parametrize("name", with_option("batch_norm", BatchNormMode))
def test_batch_norm_mode_is_honoured(name):
    net, params, state, batches = problem("resnet")
    dense = masks.ones_like(params)
    by_mode = [
        CRITERIA[name](batch_norm=mode).score(KEY, net, params, state, dense, batches)
        for mode in ("batch", "running")
    ]
    assert not equal(*by_mode)


def test_no_warning_without_collapse():
    net, params, state, batches = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune(KEY, PRUNERS["random"](), net, params, state, masks.ones_like(params), batches, 0.5)
