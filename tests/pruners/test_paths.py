"""PX, SynFlow-L2 and PXact against every path of tiny networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from path_enumeration import convolution, dense, max_pool, mean, path_kernel
from tiny_problem import KEY, flat, random_variables, same

from ntk_prune import masks
from ntk_prune.activations import PLAIN
from ntk_prune.models import convnet, linen, mlp, resnet, vit
from ntk_prune.ntk import empirical_ntk
from ntk_prune.pruners import paths, prune, px, pxact, synflow_l2
from ntk_prune.pruners.px import saliency
from ntk_prune.types import Batch, Model


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Pooled(nn.Module):
    """Convolution, max pool, convolution, mean over space, linear layer."""

    @nn.compact
    def __call__(self, x, *, activation=PLAIN):
        x = activation.relu(linen.conv(2, 3, name="conv0")(x))
        x = activation.max_pool(x, 2, 2)
        x = activation.relu(linen.conv(2, 3, name="conv1")(x))
        x = x.mean(axis=(1, 2))
        return linen.dense(2, 2, name="fc", bias=False)(x)


RELU = "relu"
NETWORKS: dict[str, tuple] = {
    "mlp": (
        mlp((4, 3), 2, bias=False),
        (3,),
        [dense(3, 4, 0, RELU), dense(4, 3, 12, RELU), dense(3, 2, 24, "linear")],
    ),
    "one path": (
        mlp((1, 1), 1, bias=False),
        (1,),
        [dense(1, 1, 0, RELU), dense(1, 1, 1, RELU), dense(1, 1, 2, "linear")],
    ),
    "convnet": (
        convnet((2, 2), (1, 2), 2),
        (4, 4, 1),
        [
            convolution(4, (3, 3, 1, 2), 1, 0, RELU),
            convolution(4, (3, 3, 2, 2), 2, 18, RELU),
            mean(4, 2),
            dense(2, 2, 54, "linear"),
        ],
    ),
    "pooled": (
        linen.model(Pooled()),
        (4, 4, 1),
        [
            convolution(4, (3, 3, 1, 2), 1, 0, RELU),
            max_pool(4, 2, 2),
            convolution(2, (3, 3, 2, 2), 1, 18, RELU),
            mean(4, 2),
            dense(2, 2, 54, "linear"),
        ],
    ),
}
tiny = pytest.mark.parametrize("name", ["one path", "mlp masked", "convnet", "pooled masked"])


@functools.cache
def problem(name: str):
    """``(model, params, mask, x [5, ...], y, kernel of the paths)``."""
    model, shape, layers = NETWORKS[name.removesuffix(" masked")]
    x = jax.random.normal(KEY, (5, *shape), jnp.float64)
    if name == "one path":
        x = jnp.abs(x)
    params, _ = random_variables(model, x)
    params = jax.tree.map(jnp.abs, params) if name == "one path" else params
    mask = masks.ones_like(params)
    if name.endswith("masked"):
        scores = jax.tree.map(lambda p: jax.random.uniform(KEY, p.shape), params)
        mask = masks.keep_top(scores, mask, 0.6)
    theta = np.asarray(flat(masks.apply(params, mask)))
    y = np.arange(5) % (layers[-1].target.max() + 1)
    kernel = path_kernel(layers, theta, np.asarray(x).reshape(5, -1))
    return model, params, mask, x, y, theta, kernel


def activation_squares(kernel) -> np.ndarray:
    """``|J_v^{f_k}(x_b)|^2`` as ``[B, K]``."""
    return np.square(kernel.activation).sum(-1)


@tiny
def test_a_network_is_the_sum_of_its_paths(name):
    model, params, mask, x, _, _, kernel = problem(name)
    logits, _ = model.apply(masks.apply(params, mask), {}, x, train=False)
    same(logits, kernel.activation @ kernel.values)


@tiny
def test_the_kernel_has_two_factors_and_their_norms_bound_its_trace(name):
    model, params, mask, x, _, theta, kernel = problem(name)
    jacobian = kernel.activation @ kernel.by_weight * (theta != 0)
    ours = empirical_ntk(model, params, x, state={}, mask=mask, wrt="prunable")
    same(ours, np.einsum("ikp,jlp->ijkl", jacobian, jacobian))

    trace = np.einsum("iikk->", ours)
    norms = np.square(kernel.activation).sum() * np.square(kernel.by_weight).sum()
    scores = flat(saliency(model, params, {}, mask, x[None]))
    by_output = (np.asarray(scores)[theta != 0] / theta[theta != 0] ** 2).sum()
    slack = 1e-12 * norms
    assert 0 < trace <= by_output + slack
    assert by_output <= norms + slack
    if name == "one path":
        assert trace == pytest.approx(norms, rel=1e-12)


@pytest.mark.parametrize("name", ["mlp", "convnet", "pooled"])
@pytest.mark.parametrize("density", [1.0, 0.5, 0.25])
def test_connected_are_the_weights_of_the_paths(name, density):
    model, shape, layers = NETWORKS[name]
    x = jnp.ones((1, *shape))
    params, _ = random_variables(model, x)
    scores = jax.tree.map(lambda p: jax.random.uniform(jax.random.key(1), p.shape), params)
    mask = masks.keep_top(scores, masks.ones_like(params), density)
    kept = np.asarray(flat(jax.tree.map(jnp.float64, mask)))
    uses = path_kernel(layers, kept, np.asarray(x).reshape(1, -1)).uses
    connected = paths.connected(model, params, {}, mask, x)
    same(np.asarray(flat(connected)), (uses > 0).any(0))


def test_a_network_without_biases_is_that_of_its_connected_weights():
    model, x = resnet(20, 2), jax.random.normal(KEY, (3, 8, 8, 3))
    params, state = jax.jit(model.init)(KEY, x)
    scores = jax.tree.map(lambda p: jax.random.uniform(jax.random.key(2), p.shape), params)
    mask = masks.keep_top(scores, masks.ones_like(params), 0.1)
    connected = paths.connected(model, params, state, mask, x)
    assert 0 < masks.density(connected) < masks.density(mask)
    whole, reduced = (
        model.apply(masks.apply(params, m), state, x, train=False)[0] for m in (mask, connected)
    )
    np.testing.assert_array_equal(whole, reduced)


def test_no_path_is_followed_through_a_network_that_has_none():
    model, x = vit(patch=4, width=8, depth=1, heads=2), jnp.zeros((1, 8, 8, 3))
    shapes = jax.eval_shape(model.init, KEY, x)
    with pytest.raises(ValueError, match="no paths to follow"):
        paths.connected(model, *shapes, masks.ones_like(shapes[0]), x)


@pytest.mark.parametrize("nonlinearity", [jax.nn.relu, jnp.tanh, jax.nn.gelu, jnp.abs])
def test_a_network_that_ignores_its_activation_is_refused(nonlinearity):
    def apply(params, state, x, *, train, activation=None):
        del train, activation
        return nonlinearity(x @ params["a"]["kernel"]) @ params["b"]["kernel"], state

    model = Model(lambda key, x: None, apply)  # pyright: ignore
    params = {"a": {"kernel": jnp.ones((3, 4))}, "b": {"kernel": jnp.ones((4, 2))}}
    batch = Batch(jnp.ones((1, 5, 3)), jnp.zeros((1, 5), int))
    for criterion in (px(), synflow_l2()):
        with pytest.raises(ValueError, match="must leave every nonlinearity to its argument"):
            prune(KEY, criterion, model, params, {}, masks.ones_like(params), batch, 0.5)
    with pytest.raises(ValueError, match="no paths to follow"):
        paths.connected(model, params, {}, masks.ones_like(params), batch.x[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_here_are_linear_with_all_paths_open(name):
    model, shape, _ = NETWORKS[name]
    params, state = model.init(KEY, jnp.zeros((1, *shape)))
    paths.check_linear(model, params, state, jnp.zeros((1, *shape)))


@tiny
def test_the_activation_factor_is_the_norm_of_the_open_paths(name):
    model, params, mask, x, _, _, kernel = problem(name)
    z1 = [paths.activation_factor(model, params, {}, mask, xi[None])[0] for xi in x]
    same(np.stack(z1), activation_squares(kernel))
    together = paths.activation_factor(model, params, {}, mask, x)
    same(together[0], activation_squares(kernel).sum(0))


@tiny
def test_scores_are_sums_over_the_paths_of_a_weight(name):
    model, params, mask, x, _, theta, kernel = problem(name)
    through = kernel.uses.T @ (np.square(kernel.values)[:, None] * kernel.output)  # [N, K]
    weight = activation_squares(kernel).sum(0)
    same(flat(saliency(model, params, {}, mask, x[None])), through @ weight)

    batches = Batch(x[None], jnp.zeros((1, 5), int))
    one = flat(synflow_l2().score(KEY, model, params, {}, mask, batches))
    same(one, through.sum(1) / through.sum())
    published = flat(synflow_l2(rule="published").score(KEY, model, params, {}, mask, batches))
    derivative = np.square(kernel.by_weight).sum(0) * np.abs(theta)
    same(published, derivative / derivative.sum())


@tiny
def test_pxact_is_the_squared_jacobian_of_the_label_logit(name):
    model, params, mask, x, y, theta, kernel = problem(name)
    jacobian = (kernel.activation @ kernel.by_weight)[np.arange(5), y]
    expected = theta**2 * np.square(jacobian).sum(0)
    batches = Batch(x[None], jnp.asarray(y)[None])
    scores = pxact().score(KEY, model, params, {}, mask, batches)
    same(flat(scores), expected / expected.sum())
