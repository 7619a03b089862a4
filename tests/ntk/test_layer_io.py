"""Taps: which linear maps are found in an arbitrary function, and that their kernels are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune.models import vgg
from ntk_prune.ntk import empirical_ntk, jacobian
from ntk_prune.ntk.backends.plan import make_plan
from ntk_prune.ntk.problem import KernelProblem

W = jax.random.normal(jax.random.key(0), (4, 4))
X = jax.random.normal(jax.random.key(1), (3, 4))
IMAGE = jax.random.normal(jax.random.key(2), (3, 7, 6, 2))


def plan_of(f, params, x):
    return make_plan(KernelProblem(f, params, x), tapped=True)


TAPPED = {
    "product": lambda p, x: jnp.tanh(x @ p["w"]),
    "transposed": lambda p, x: jnp.tanh(x @ p["w"].T),
    "weight first": lambda p, x: jnp.tanh(p["w"] @ x.T).T,
    "einsum": lambda p, x: jnp.tanh(jnp.einsum("oi,bi->bo", p["w"], x)),
    "inside jit": jax.jit(lambda p, x: jnp.sin(x @ p["w"])),
    "checkpointed": jax.checkpoint(lambda p, x: jnp.sin(x @ p["w"])),
    "several positions": lambda p, x: jnp.sin(jnp.stack([x, x**2], 1) @ p["w"]).sum(1),
}

LEFT = {
    "used twice": lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"],
    "squared": lambda p, x: x @ jnp.square(p["w"]),
    "elementwise": lambda p, x: x * p["w"][:1],
    "also returned": lambda p, x: x @ p["w"] + p["w"][:1],
    "in a loop": lambda p, x: jax.lax.fori_loop(0, 2, lambda _, h: jnp.tanh(h @ p["w"]), x),
}


@pytest.mark.parametrize("name", [*TAPPED, *LEFT])
def test_layers_are_found_and_right_either_way(name):
    f = (TAPPED | LEFT)[name]
    assert len(plan_of(f, {"w": W}, X).layers) == (name in TAPPED)
    j = jacobian(f, {"w": W}, X)
    expected = np.einsum("imp,jnp->ijmn", j, j)
    found = empirical_ntk(f, {"w": W}, X, backend="layerwise")
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "SAME"},
        {"padding": "VALID", "window_strides": (2, 3)},
        {"padding": ((2, 1), (0, 3)), "rhs_dilation": (2, 1)},
        {"padding": ((1, 1), (-1, 2)), "lhs_dilation": (2, 1)},
    ],
)
@pytest.mark.parametrize("pruned", [False, True])
def test_convolutions(options, pruned):
    kernel = jax.random.normal(jax.random.key(3), (3, 2, 2, 5))
    options = {"window_strides": (1, 1)} | options

    def f(p, x):
        layout = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, p["kernel"], dimension_numbers=layout, **options)
        return jnp.tanh(y).mean((1, 2))

    params = {"kernel": kernel}
    mask = {"kernel": jnp.abs(kernel) > 0.5} if pruned else None
    assert len(plan_of(f, params, IMAGE).layers) == 1
    j = jacobian(f, params, IMAGE, mask=mask)
    expected = np.einsum("imp,jnp->ijmn", j, j)
    found = empirical_ntk(f, params, IMAGE, mask=mask, backend="layerwise")
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_other_layouts():
    def f(p, x):
        y = jax.lax.conv_general_dilated(x.transpose(0, 3, 1, 2), p["kernel"], (1, 1), "SAME")
        return jnp.sin(y).mean((2, 3))

    params = {"kernel": jax.random.normal(jax.random.key(3), (5, 2, 3, 3))}
    assert len(plan_of(f, params, IMAGE).layers) == 1
    j = jacobian(f, params, IMAGE)
    expected = np.einsum("imp,jnp->ijmn", j, j)
    np.testing.assert_allclose(empirical_ntk(f, params, IMAGE), expected, atol=1e-4)


def test_grouped_convolutions_take_the_ordinary_way():
    def f(p, x):
        y = jax.lax.conv_general_dilated(
            x, p["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=2,
        )  # fmt: skip
        return jnp.sin(y).mean((1, 2))

    params = {"kernel": jax.random.normal(jax.random.key(3), (3, 3, 1, 4))}
    assert not plan_of(f, params, IMAGE).layers
    j = jacobian(f, params, IMAGE)
    expected = np.einsum("imp,jnp->ijmn", j, j)
    np.testing.assert_allclose(empirical_ntk(f, params, IMAGE), expected, atol=1e-4)


def test_convolutions_of_images_smaller_than_the_kernel_are_found():
    network = vgg(11, width=2, num_classes=3)  # from 16x16 down to 1x1
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
    params, state = network.init(jax.random.key(1), x)

    def f(params, x):
        return network.apply(params, state, x, train=False)[0]

    assert len(plan_of(f, params, x).layers) == 9
    j = jacobian(f, params, x)
    expected = np.einsum("imp,jnp->ijmn", j, j)
    found = empirical_ntk(f, params, x, backend="layerwise")
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
