"""The kernel of randomly pruned networks: formula, exact scaling laws, limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune.ntk import random_pruning
from ntk_prune.ntk.concentration import moments
from ntk_prune.ntk.random_pruning import Convolutional, FullyConnected

KEY = jax.random.key(0)
NETWORKS = {
    "fully connected": (FullyConnected(6, depth=3, density=0.5, prune_input=True), (4,)),
    "one hidden layer": (FullyConnected(5, depth=1, density=0.5), (3,)),
    "convolutional": (Convolutional(4, depth=2, density=0.5, prune_input=True), (3, 4, 2)),
}


def pair(shape, seed=0):
    return tuple(np.random.default_rng(seed).standard_normal((2, *shape)))


def recorded_pair():
    x1, x2 = np.random.RandomState(1).random_sample((2, 10))
    x1, x2 = x1 / np.linalg.norm(x1), x2 / np.linalg.norm(x2)
    return jnp.asarray(x1, jnp.float32), jnp.asarray(x2, jnp.float32)


@functools.cache
def numpy_draw(network, shape):
    layers, masks = jax.jit(lambda: random_pruning.draw(KEY, network, shape))()
    return [np.asarray(w) for w in layers], [None if m is None else np.asarray(m) for m in masks]


def float64_draw(network, shape):
    """To be used under enable_x64."""
    layers, masks = numpy_draw(network, shape)
    return [np.float64(w) for w in layers], masks


def fully_connected(weights, masks, x, factor=1.0):
    """The network as the paper writes it, ``factor`` on every kept weight of a pruned layer."""
    g = x
    for h, (w, mask) in enumerate(zip(weights, masks, strict=True)):
        kept = w if mask is None else factor * w * mask
        f = jnp.einsum("ij,j->i", kept, g)
        g = jnp.sqrt(2 / len(w)) * jnp.maximum(f, 0) if h < len(weights) - 1 else f
    return g[0]


def kernel(network, weights, masks, x1, x2):
    return jax.jit(network.kernel)(weights, masks, x1, x2)


def convolutional(weights, masks, x, factor=1.0):
    """The same with XLA's convolution."""
    kept = [
        w if mask is None else factor * w * mask for w, mask in zip(weights, masks, strict=True)
    ]
    g = x[None]
    for w in kept[:-1]:
        kernel = w.T.reshape(3, 3, g.shape[-1], len(w)) * jnp.sqrt(2 / w.shape[1])
        numbers = ("NHWC", "HWIO", "NHWC")
        f = jax.lax.conv_general_dilated(g, kernel, (1, 1), "SAME", dimension_numbers=numbers)
        g = jnp.maximum(f, 0)
    return jnp.sqrt(2 / g.shape[-1]) * kept[-1][0] @ g.mean((0, 1, 2))


@functools.partial(jax.jit, static_argnums=0)
def autodiff_kernel(network, weights, masks, x1, x2, factor=1.0):
    apply = convolutional if isinstance(network, Convolutional) else fully_connected
    a, b = (jax.grad(apply)(weights, masks, x, factor) for x in (x1, x2))
    return sum(jnp.vdot(u, v) for u, v in zip(a, b, strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_kernel_is_that_of_autodiff(name):
    network, shape = NETWORKS[name]
    x1, x2 = pair(shape)
    with jax.enable_x64(True):
        weights, masks = float64_draw(network, shape)
        expected = autodiff_kernel(network, weights, masks, x1, x2)
        got = kernel(network, weights, masks, x1, x2)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_division_by_root_density_multiplies_the_kernel_exactly(name):
    network, shape = NETWORKS[name]
    x1, x2 = pair(shape)
    with jax.enable_x64(True):
        weights, masks = float64_draw(network, shape)
        factor = network.density**-0.5
        rescaled = autodiff_kernel(network, weights, masks, x1, x2, factor)
        plain = kernel(network, weights, masks, x1, x2)
        np.testing.assert_allclose(plain * random_pruning.rescaling(network), rescaled, rtol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_full_masks_are_no_masks(name):
    network, shape = NETWORKS[name]
    weights, masks = numpy_draw(network, shape)
    full = [np.ones(w.shape, bool) for w in weights]
    x1, x2 = (jnp.float32(x) for x in pair(shape))
    dense = kernel(network, weights, [None] * len(masks), x1, x2)
    np.testing.assert_allclose(kernel(network, weights, full, x1, x2), dense, rtol=1e-5)


def test_kernel_is_symmetric_and_obeys_cauchy_schwarz():
    network, shape = NETWORKS["fully connected"]
    x1, x2 = (jnp.float32(x) for x in pair(shape))
    kernels = {
        (i, j): random_pruning.sample(KEY, network, a, b, 20)
        for i, a in enumerate((x1, x2))
        for j, b in enumerate((x1, x2))
    }
    np.testing.assert_allclose(kernels[0, 1], kernels[1, 0], rtol=1e-5)
    assert (kernels[0, 1] ** 2 <= kernels[0, 0] * kernels[1, 1] * (1 + 1e-5)).all()


def test_pruned_weights_are_normal_where_kept():
    weights, mask = random_pruning.pruned_weights(KEY, (1000, 200), 0.3)
    assert mask is not None
    kept = np.asarray(weights[mask], np.float64)
    n = weights.size
    assert abs(mask.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / n)
    assert not weights[~mask].any()
    moments = [np.mean(kept**k) for k in (1, 2, 3, 4)]
    errors = [1, np.sqrt(2), np.sqrt(15), np.sqrt(96)]
    z = (np.array(moments) - [0, 1, 0, 3]) * np.sqrt(len(kept)) / errors
    assert np.abs(z).max() < 4
    dense, no_mask = random_pruning.pruned_weights(KEY, (7, 5), 1.0)
    assert no_mask is None
    assert np.isfinite(dense).all()


def test_mask_says_nothing_about_the_neighbouring_weight():
    weights, mask = random_pruning.pruned_weights(KEY, (1000, 200), 0.5)
    w, m = np.asarray(weights, np.float64), np.asarray(mask, np.float64) - 0.5
    for product in (m[:, 1:] * m[:, :-1], m[1:] * m[:-1], m[:, 1:] * w[:, :-1], w[1:] * w[:-1]):
        assert abs(product.mean()) < 4 * product.std() / np.sqrt(product.size)


def test_layers_and_networks_are_independent():
    network = FullyConnected(64, depth=3, density=0.5)
    layers, _ = numpy_draw(network, (64,))
    assert not np.array_equal(layers[1] == 0, layers[2] == 0)
    assert abs(np.corrcoef(layers[0].ravel(), layers[1].ravel())[0, 1]) < 4 / 64
    assert abs(np.corrcoef(layers[1].ravel(), layers[2].ravel())[0, 1]) < 4 / 64
    x1, x2 = (jnp.float32(x) for x in pair((64,)))
    assert len(set(random_pruning.sample(KEY, network, x1, x2, 10))) == 10


def test_draws_do_not_depend_on_the_memory_budget():
    network, shape = NETWORKS["fully connected"]
    x1, x2 = (jnp.float32(x) for x in pair(shape))
    at_once = random_pruning.sample(KEY, network, x1, x2, 7)
    for budget in (1, 5_000):
        again = random_pruning.sample(KEY, network, x1, x2, 7, memory_budget=budget)
        np.testing.assert_allclose(again, at_once, rtol=1e-5)


def test_limit_of_the_recorded_pair():
    x1, x2 = recorded_pair()
    network = FullyConnected(8, depth=3, density=0.5)
    assert network.unpruned_limit(x1, x2) == pytest.approx(2.4287229440232556, rel=1e-6)
    assert random_pruning.limit(network, x1, x2) == pytest.approx(2.4287229440232556 / 8, rel=1e-6)
    with_input = FullyConnected(8, depth=3, density=0.5, prune_input=True)
    assert random_pruning.limit(with_input, x1, x2) == pytest.approx(
        2.4287229440232556 / 16, rel=1e-6
    )


@pytest.mark.parametrize(
    ("density", "prune_input"), [(1.0, False), (0.5, False), (0.5, True), (0.25, True)]
)
def test_mean_tends_to_the_limit(density, prune_input):
    x1, x2 = recorded_pair()
    network = FullyConnected(256, density=density, prune_input=prune_input)
    kernels = random_pruning.sample(KEY, network, x1, x2, 200)
    limit = random_pruning.limit(network, x1, x2)
    result = moments(kernels, limit)
    assert abs(result.mean - limit) < 4 * result.sem
    assert result.sem < 0.05 * limit


def test_mean_tends_to_the_limit_of_a_cnn():
    x1, x2 = (jnp.float32(x) for x in np.random.default_rng(0).random((2, 4, 4, 3)))
    network = Convolutional(64, depth=2, density=0.5)
    result = moments(
        random_pruning.sample(KEY, network, x1, x2, 200), random_pruning.limit(network, x1, x2)
    )
    assert abs(result.mean - random_pruning.limit(network, x1, x2)) < 4 * result.sem
    assert result.sem < 0.05 * result.mean


@pytest.mark.parametrize(
    ("options", "message"),
    [({"width": 0}, "at least 1"), ({"width": 4, "density": 0.0}, r"\(0, 1\]")],
)
def test_bad_networks(options, message):
    with pytest.raises(ValueError, match=message):
        FullyConnected(**options)


def test_bad_samples():
    with pytest.raises(ValueError, match="differ in shape"):
        random_pruning.sample(KEY, FullyConnected(4), jnp.ones(3), jnp.ones(2), 4)
    with pytest.raises(ValueError, match="num_networks"):
        random_pruning.sample(KEY, FullyConnected(4), jnp.ones(3), jnp.ones(3), 0)
