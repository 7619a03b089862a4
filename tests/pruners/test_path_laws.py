"""The laws of PX, SynFlow-L2 and PXact on networks with batch norm, biases, pools and branches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.stats import rankdata
from tiny_problem import KEY, flat, random_variables, same

from ntk_prune import masks
from ntk_prune.activations import PLAIN, Open
from ntk_prune.models import convnet, linen, mlp, resnet
from ntk_prune.pruners import paths, prune, px, pxact, synflow_l2
from ntk_prune.pruners.px import saliency
from ntk_prune.pruners.synflow_l2 import saliency as synflow_l2_saliency
from ntk_prune.types import Batch


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Normed(nn.Module):
    """Two convolutions with bias and batch norm, a max pool between; linear layer."""

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = {"train": train, "momentum": momentum, "axis_name": axis_name}
        for i in range(2):
            x = activation.max_pool(x, 2, 2) if i else x
            x = linen.conv(3 + i, 3, name=f"conv{i}", bias=True)(x)
            x = linen.BatchNorm(name=f"bn{i}")(x, **mode, activation=activation)
            x = activation.relu(x)
        return linen.dense(3, 4, name="fc")(linen.flatten(x))


class Segmenting(nn.Module):
    """Two convolutions: logits ``[B, H, W, 3]``."""

    @nn.compact
    def __call__(self, x, *, activation=PLAIN):
        x = activation.relu(linen.conv(4, 3, name="conv0")(x))
        return linen.conv(3, 3, name="conv1")(x)


NORMED = linen.model(Normed())


def unlabelled(x):
    """Batches for a score that does not read labels."""
    return Batch(x, jnp.zeros(x.shape[:2], int))


def layer_sums(scores) -> np.ndarray:
    return np.array([float(s.sum()) for _, s in masks.leaves(scores)])


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (mlp((6, 5), 3), (4,)),
        (NORMED, (6, 6, 1)),
        (linen.model(Segmenting()), (5, 5, 2)),
    ],
    ids=["biases", "batch norm", "segmentation"],
)
def test_scores_are_conserved_over_layers(model, shape):
    x = jax.random.normal(KEY, (1, 2, *shape), jnp.float64)
    params, state = random_variables(model, x[0])
    mask = masks.keep_top(params, masks.ones_like(params), 0.7)
    sums = layer_sums(saliency(model, params, state, mask, x))
    same(sums, sums[0])
    assert sums[0] > 0


def test_scores_of_a_residual_network_are_conserved_along_its_branches():
    model = resnet(8, 2, 3)
    x = jax.random.normal(KEY, (1, 2, 8, 8, 1), jnp.float64)
    params, state = random_variables(model, x[0])
    scores = saliency(model, params, state, masks.ones_like(params), x)
    sums = {name: float(s.sum()) for name, s in masks.leaves(scores)}
    same(sums["conv/kernel"], sums["fc/kernel"])
    for i in range(3):
        same(sums[f"blocks_{i}/conv1/kernel"], sums[f"blocks_{i}/conv2/kernel"])
    for i in (1, 2):  # every path takes the branch or the shortcut's convolution
        both = sums[f"blocks_{i}/conv1/kernel"] + sums[f"blocks_{i}/shortcut_conv/kernel"]
        same(both, sums["fc/kernel"])


@pytest.mark.parametrize("pruner", [px(), synflow_l2()], ids=["px", "synflow_l2"])
def test_pruned_to_as_many_weights_as_layers_a_path_is_left(pruner):
    model = mlp((30, 4, 30), 10, bias=False)
    x = jax.random.normal(KEY, (1, 4, 30), jnp.float32)
    params, state = model.init(KEY, x[0])
    dense = masks.ones_like(params)
    density = 4 / flat(params).size
    _, info = prune(KEY, pruner, model, params, state, dense, unlabelled(x), density)
    assert [kept for kept, _ in info.layer_counts.values()] == [1, 1, 1, 1]
    once = pruner._replace(num_rounds=1)
    with pytest.warns(UserWarning, match="no weights left"):
        prune(KEY, once, model, params, state, dense, unlabelled(x), density)


def test_with_all_gates_open_px_is_synflow_l2_weighted_by_the_data():
    model = convnet((3, 4), (1, 2), 3)
    x = jnp.abs(jax.random.normal(KEY, (1, 4, 5, 5, 2), jnp.float64))
    params, _ = random_variables(model, x[0])
    params, mask = jax.tree.map(jnp.abs, params), masks.ones_like(params)
    weight = model.apply(masks.as_float(mask, params), {}, x[0] ** 2, train=False)[0].sum(0)

    def through(output):
        last = params["fc"]["kernel"] * jnp.eye(3)[output : output + 1]
        only = {**params, "fc": {"kernel": last}}
        return flat(synflow_l2_saliency(model, only, {}, mask, x[0, :1]))

    expected = sum(w * through(k) for k, w in enumerate(weight))
    same(flat(saliency(model, params, {}, mask, x)), expected)


def test_while_the_last_layer_is_dense_the_data_do_not_matter():
    """Then every output has all features, and one number for all is no weight."""
    x = jax.random.normal(KEY, (1, 4, 6, 6, 1), jnp.float64)
    params, state = random_variables(NORMED, x[0])
    mask = masks.keep_top(params, masks.ones_like(params), 0.6)
    dense_last = {**mask, "fc": masks.ones_like(params["fc"])}

    def scores(pruner, mask):
        return flat(pruner.score(KEY, NORMED, params, state, mask, unlabelled(x)))

    same(scores(px(), dense_last), scores(synflow_l2(), dense_last))
    one, other = scores(px(), mask), scores(synflow_l2(), mask)
    assert np.abs(one - other).max() > 1e-3 * one.max()


def folded(params, state):
    """The same network with batch norms of slope 1: their slopes are in the layers before."""
    weights, statistics = dict(params), {}
    for i in range(2):
        norm = state["batch_stats"][f"bn{i}"]
        deviation = jnp.sqrt(norm["var"] + 1e-5)
        slope = params[f"bn{i}"]["scale"] / deviation
        layer = params[f"conv{i}"]
        weights[f"conv{i}"] = {
            "kernel": layer["kernel"] * slope[None, None, None],
            "bias": layer["bias"] * slope,
        }
        weights[f"bn{i}"] = {**params[f"bn{i}"], "scale": deviation}
        statistics[f"bn{i}"] = {**norm, "mean": norm["mean"] * slope}
    return weights, {"batch_stats": statistics}


def test_px_does_not_see_whether_batch_norms_are_folded_into_the_convolutions():
    x = jax.random.normal(KEY, (1, 2, 6, 6, 1), jnp.float64)
    params, state = random_variables(NORMED, x[0])
    mask = masks.ones_like(params)

    def numbers(params, state):
        logits, _ = NORMED.apply(params, state, x[0], train=False)
        affine = saliency(NORMED, params, state, mask, x, "affine")
        ignored = saliency(NORMED, params, state, mask, x, "ignore")
        return logits, flat(affine), flat(ignored)

    logits, affine, ignored = numbers(params, state)
    logits_folded, affine_folded, ignored_folded = numbers(*folded(params, state))
    same(logits, logits_folded)
    same(affine, affine_folded)
    same(affine_folded, ignored_folded)
    assert np.abs(ignored - affine).max() > 0.1 * np.abs(affine).max()


@pytest.mark.parametrize("pruner", [px(), pxact()], ids=["px", "pxact"])
def test_scores_do_not_depend_on_the_split_into_batches_but_on_every_example(pruner):
    model = convnet((3, 4), (1, 2), 3)
    x = jax.random.normal(KEY, (6, 5, 5, 2), jnp.float64)
    y = jnp.arange(6) % 3
    params, _ = random_variables(model, x)
    mask = masks.ones_like(params)  # with a last layer that is not dense, or PX sees no data
    mask["fc"]["kernel"] = jnp.eye(4, 3, dtype=bool)

    def scores(x, y, n):
        batches = Batch(x.reshape(n, -1, 5, 5, 2), y.reshape(n, -1))
        return flat(pruner.score(KEY, model, params, {}, mask, batches))

    whole = scores(x, y, 1)
    for n in (2, 6):
        same(scores(x, y, n), whole)
    for i in range(6):
        others = np.delete(np.arange(6), i)
        assert np.abs(scores(x[others], y[others], 5) - whole).max() > 1e-4 * whole.max()


def correlation(a, b) -> float:
    """Spearman's, of ranks."""
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def test_the_ranking_does_not_depend_on_the_precision():
    model = resnet(20, 16)
    x = jax.random.normal(KEY, (1, 4, 8, 8, 3), jnp.float32)
    with jax.enable_x64(False):
        params, state = jax.jit(model.init)(KEY, x[0])
    mask = masks.ones_like(params)
    wide = paths.wide((params, state, x))
    narrow = px().score(KEY, model, params, state, mask, unlabelled(x))
    exact = px().score(KEY, model, wide[0], wide[1], mask, unlabelled(wide[2]))
    assert flat(narrow).dtype == np.float32
    assert correlation(flat(narrow), flat(exact)) > 0.999
    np.testing.assert_allclose(flat(narrow), flat(exact), rtol=1e-4)


@pytest.mark.parametrize("pruner", [px(), synflow_l2()], ids=["px", "synflow_l2"])
def test_path_values_beyond_float32_are_scored_in_a_program_without_float64(pruner):
    model = mlp((6, 5), 3)
    x = jax.random.normal(KEY, (1, 4, 8), jnp.float32)
    with jax.enable_x64(False):
        params, state = jax.tree.map(lambda p: 1e10 * p, jax.jit(model.init)(KEY, x[0]))
        mask = masks.keep_top(params, masks.ones_like(params), 0.7)
        narrow = flat(pruner.score(KEY, model, params, state, mask, unlabelled(x)))
        assert jnp.zeros(()).dtype == narrow.dtype == jnp.float32
    params, state, x = paths.wide((params, state, x))
    exact = flat(pruner.score(KEY, model, params, state, mask, unlabelled(x)))
    np.testing.assert_allclose(narrow, exact, rtol=1e-6)


class Normalised(Open):
    """All paths, but batch norms normalise: the published path values."""

    def affine(self, x, mean, slope, bias):
        return PLAIN.affine(x, mean, slope, bias)


@pytest.mark.parametrize("model", [NORMED, resnet(8, 2, 3)], ids=["normed", "resnet"])
def test_normalised_path_values_say_nothing_about_convolutions(model):
    """The scale of a convolution before batch norm has no effect, so its scores sum to zero; in a
    residual network all of them vanish, since a mean over space follows the sum of the norms."""
    x = jnp.ones((1, 8, 8, 1))
    params, state = random_variables(model, x)
    squares = jax.tree.map(lambda p: 1e4 * p * p, params)  # so that the norms' 1e-5 is nothing

    def total(squares):
        return model.apply(squares, state, x, train=True, activation=Normalised())[0].sum()

    products = jax.tree.map(jnp.multiply, squares, jax.jit(jax.grad(total))(squares))
    sizes = {name: abs(p).sum() for name, p in masks.leaves(products)}
    last = sizes.pop("fc/kernel")
    for name in sizes:
        if model is NORMED:
            assert sizes[name] > 1e-3 * last
            assert abs(dict(masks.leaves(products))[name].sum()) < 1e-7 * sizes[name]
        else:
            assert sizes[name] < 1e-7 * last
    ours = layer_sums(saliency(model, params, state, masks.ones_like(params), x[None]))
    assert ours.min() > 0.01 * ours.max()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (mlp((4,), 3, "tanh"), "tanh units has no paths to follow"),
        (linen.model(nn.Dense(3)), "Dense has no paths to follow"),
    ],
)
@pytest.mark.parametrize("factory", [px, synflow_l2])
def test_a_network_without_paths_is_refused(factory, model, message):
    x = jnp.ones((1, 2, 4))
    params, state = model.init(KEY, x[0])
    pruner = factory()
    assert pruner.follows_paths
    assert not pxact().follows_paths
    with pytest.raises(ValueError, match=message) as error:
        pruner.score(KEY, model, params, state, masks.ones_like(params), unlabelled(x))
    assert "\n" not in str(error.value)


def test_pxact_needs_a_label_for_every_example():
    x, y = jnp.ones((1, 2, 5, 5, 1)), jnp.ones((1, 2, 5, 5), int)
    with pytest.raises(ValueError, match=r"one label per example.*\(1, 2, 5, 5\)"):
        pxact().score(KEY, convnet(), {}, {}, {}, Batch(x, y))
