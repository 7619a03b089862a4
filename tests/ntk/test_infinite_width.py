"""Infinite width: laws of the closed forms, each other, and Monte Carlo of finite networks."""

import functools

import jax
import numpy as np
import pytest

from ntk_prune.models import convnet, mlp
from ntk_prune.ntk import infinite_width
from ntk_prune.ntk.infinite_width import CNN, MLP, kernels, relu_ntk

RNG = np.random.default_rng(0)
X1, X2 = RNG.normal(size=(5, 10)), RNG.normal(size=(4, 10))
IMAGES = RNG.normal(size=(3, 4, 4, 2))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def test_relu_ntk_of_the_recorded_pair():
    np.random.seed(1)
    x, y = (v / np.linalg.norm(v) for v in (np.random.random(10), np.random.random(10)))
    value = relu_ntk(x[None], y[None], 3)[0, 0]
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, 2.4287229440232556, rtol=1e-15)


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_relu_ntk_is_that_of_stax(depth):
    # stax divides the first layer's weights by sqrt(d) and takes W_std = sqrt(2) there too
    ours = relu_ntk(X1, X2, depth)
    stax = kernels(MLP(widths=(1,) * depth), X1, X2).ntk * X1.shape[1] / 2
    np.testing.assert_allclose(ours, stax, rtol=1e-12, atol=1e-13)


def test_relu_ntk_is_positively_homogeneous_symmetric_and_psd():
    scaled = relu_ntk(3 * X1, 0.5 * X2, 3)
    np.testing.assert_allclose(scaled, 1.5 * relu_ntk(X1, X2, 3), rtol=1e-13)
    gram = relu_ntk(X1, X1, 3)
    np.testing.assert_allclose(gram, gram.T, rtol=1e-14)
    assert np.linalg.eigvalsh(gram)[0] > 0


def test_relu_ntk_of_equal_inputs_loses_no_digits():
    squares = np.square(X1).sum(axis=1)
    np.testing.assert_allclose(np.diag(relu_ntk(X1, X1, 6)), 7 * squares, rtol=1e-14)
    x = np.array([[1.0, 0.0]])
    near = np.array([[np.cos(1e-7), np.sin(1e-7)]])
    # to first order in the angle a, which no layer changes, Theta_L = (L+1) - a L (L+1) / (2 pi)
    difference = 4 - relu_ntk(x, near, 3)[0, 0]
    np.testing.assert_allclose(difference, 6e-7 / np.pi, rtol=1e-6)


def test_relu_ntk_of_opposite_and_zero_inputs():
    x = np.array([[1.0, 0.0], [0.0, 0.0]])
    # one hidden layer: opposite inputs share no active unit, so only the first term stays: 0
    np.testing.assert_allclose(relu_ntk(x, -x, 1), np.zeros((2, 2)), atol=1e-15)


def test_relu_ntk_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="at least 0"):
        relu_ntk(X1, X2, -1)
    with pytest.raises(ValueError, match=r"one shape, got \(5, 10\) and \(4, 9\)"):
        relu_ntk(X1, X2[:, 1:], 1)


def test_linear_network_is_the_gram_matrix():
    spec = MLP(widths=(1, 1), activation="identity", W_std=1.0)
    ntk, nngp = kernels(spec, X1, X2)
    np.testing.assert_allclose(nngp, X1 @ X2.T / 10, rtol=1e-12)
    np.testing.assert_allclose(ntk, 3 * X1 @ X2.T / 10, rtol=1e-12)


def test_biases_add_their_variance():
    spec = MLP(widths=(), W_std=1.0, b_std=0.5)
    ntk, nngp = kernels(spec, X1, X2)
    np.testing.assert_allclose(nngp, X1 @ X2.T / 10 + 0.25, rtol=1e-12)
    np.testing.assert_allclose(ntk, nngp, rtol=1e-12)


def test_convolution_over_one_pixel_is_fully_connected():
    pixels = (x[:, None, None, :] for x in (X1, X2))
    ours = kernels(CNN(channels=(1, 1), kernel=1, head="flatten"), *pixels)
    dense = kernels(MLP(widths=(1, 1)), X1, X2)
    np.testing.assert_allclose(ours.ntk, dense.ntk, rtol=1e-12)
    np.testing.assert_allclose(ours.nngp, dense.nngp, rtol=1e-12)


SPECS = {
    "mlp_relu": MLP(widths=(256, 256)),
    "mlp_erf": MLP(widths=(256, 256), activation="erf", W_std=1.5, b_std=0.3),
    "cnn_mean": CNN(channels=(128, 128), strides=(1, 2)),
    "cnn_flatten": CNN(channels=(128,), pools=(2,), head="flatten", activation="erf", b_std=0.2),
}


def draws(kernel_of_key, number):
    """Kernels of ``number`` finite networks, one after another."""
    kernel_of_key = jax.jit(kernel_of_key)
    keys = jax.random.split(jax.random.PRNGKey(0), number)
    return np.stack([kernel_of_key(key) for key in keys])


def assert_mean_is(expected, samples):
    error = np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - expected) < 4 * error)
    assert np.all(error < 0.1 * np.abs(np.diag(expected)).max())  # or it would show nothing


@pytest.mark.parametrize("name", SPECS)
def test_finite_networks_tend_to_the_analytic_ntk(name):
    spec = SPECS[name]
    x = (X1 if isinstance(spec, MLP) else IMAGES)[:3]
    net = infinite_width.network(spec)

    def ntk(key):
        params = net.init(key, x.shape)[1]
        gradient = jax.vmap(jax.grad(lambda p, x: net.apply(p, x[None])[0, 0]), (None, 0))
        flat = [g.reshape(3, -1) for g in jax.tree.leaves(gradient(params, x))]
        return sum(g @ g.T for g in flat)

    assert_mean_is(kernels(spec, x).ntk, draws(ntk, 40))


@pytest.mark.parametrize(
    ("net", "spec", "inputs"),
    [
        (mlp((256, 256), 2, bias=False), MLP(widths=(256, 256)), X1),
        (convnet((64, 64), (1, 2), 2), CNN(channels=(64, 64), strides=(1, 2)), IMAGES),
    ],
    ids=["mlp", "convnet"],
)
def test_the_limit_of_this_projects_models(net, spec, inputs):
    x = inputs[:3].astype(np.float32)

    def ntk(key):
        params, state = net.init(key, x)
        f = functools.partial(net.apply, state=state, train=False)
        gradient = jax.vmap(jax.grad(lambda p, x: f(p, x=x[None])[0][0, 0]), (None, 0))
        # a weight of W_std / sqrt(fan_in) N(0, 1) has W_std^2 / fan_in as its learning rate
        leaves = jax.tree.leaves(gradient(params, x))
        rates = [2 / np.prod(leaf.shape[1:-1]) for leaf in leaves]
        flat = [leaf.reshape(3, -1) for leaf in leaves]
        return sum(rate * g @ g.T for rate, g in zip(rates, flat, strict=True))

    assert_mean_is(kernels(spec, x).ntk, draws(ntk, 40))


@pytest.mark.parametrize("x64", [False, True])
def test_precision_is_jax_default(x64):
    with jax.enable_x64(x64):
        expected = np.float64 if x64 else np.float32
        assert kernels(MLP(widths=(1,)), X1).ntk.dtype == expected
        assert relu_ntk(X1, X1, 1).dtype == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(widths=(1,), activation="softmax"), "for activation 'softmax'"),
        (lambda: CNN(channels=(1,), head="max"), "for head 'max'"),
        (lambda: CNN(channels=(1,), kernel=2), "odd"),
        (lambda: CNN(channels=(1, 1), strides=(2,)), "2 channels need as many strides"),
        (lambda: kernels(CNN(channels=(1,)), X1), r"\[n, H, W, C\], got shape \(5, 10\)"),
        (lambda: kernels(MLP(widths=()), X1, X2[:, :3]), "of one shape"),
    ],
)
def test_what_has_no_kernel_is_one_clear_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
