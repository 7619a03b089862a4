"""Convolutions that are matrix products against XLA's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ntk_prune.models.convolution import convolve

LAYOUT = ("NHWC", "HWIO", "NHWC")


def random(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("image", [(1, 1), (2, 2), (2, 5), (4, 1), (3, 3), (6, 5)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        (3, 1, 1, 1),
        (3, 2, 1, 1),
        (3, 1, 4, 4),
        (5, 1, 2, 1),
        (7, 2, 3, 1),
        (1, 1, 0, 1),
        (1, 2, 0, 1),
    ],
)
def test_equal_to_the_convolution_with_its_derivatives(image, kernel, stride, padding, dilation):
    x, w = random(0, 2, *image, 3), random(1, kernel, kernel, 3, 4)
    here, there = ways(stride, padding, dilation)
    np.testing.assert_allclose(here(x, w), there(x, w), rtol=1e-5, atol=1e-5)
    cotangent = random(2, *there(x, w).shape)
    gradients = [jax.vjp(f, x, w)[1](cotangent) for f in (here, there)]
    for gradient, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def ways(stride=1, padding=1, dilation=1):
    """The convolution of the networks and XLA's."""
    arguments = {
        "window_strides": (stride, stride),
        "padding": [(padding, padding)] * 2,
        "lhs_dilation": (1, 1),
        "rhs_dilation": (dilation, dilation),
        "dimension_numbers": LAYOUT,
    }
    return [functools.partial(f, **arguments) for f in (convolve, lax.conv_general_dilated)]


def derivatives(f, x, w, dx, dw):
    """Second and mixed derivatives, forwards and backwards, alone and mapped over both inputs."""

    def loss(x, w):
        return jnp.sin(f(x, w)).sum()

    yield jax.jvp(f, (x, w), (dx, dw))[1]
    yield from jax.jvp(jax.grad(loss, (0, 1)), (x, w), (dx, dw))[1]  # forward over reverse
    yield from jax.grad(lambda x, w: jax.jvp(loss, (x, w), (dx, dw))[1], (0, 1))(x, w)
    yield from jax.grad(lambda x, w: (jax.grad(loss, 1)(x, w) * dw).sum(), (0, 1))(x, w)
    yield jax.vmap(jax.grad(loss, 1))(jnp.stack([x, dx]), jnp.stack([w, dw]))
    yield jax.vmap(jax.grad(loss, 1), (0, None))(jnp.stack([x, dx]), w)


@pytest.mark.parametrize("size", [(3, 4), (6, 5)])
def test_the_product_has_all_derivatives_of_the_convolution(size):
    with jax.enable_x64(True):
        x, dx = np.random.default_rng(0).normal(size=(2, 2, *size, 3))
        w, dw = np.random.default_rng(1).normal(size=(2, 3, 3, 3, 4))
        both = [list(derivatives(f, x, w, dx, dw)) for f in ways()]
        for value, expected in zip(*both, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-11)


def test_the_product_leaves_the_convolution_and_its_input_gradient_as_they_are():
    x, w, dy = random(0, 2, 6, 5, 3), random(1, 3, 3, 3, 4), random(2, 2, 6, 5, 4)
    here, there = [jax.vjp(lambda x, f=f: f(x, w), x) for f in ways()]
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_array_equal(here[1](dy)[0], there[1](dy)[0])


@pytest.mark.parametrize(
    ("backend", "image", "kernel", "groups", "primitive"),
    [
        ("cpu", 2, 3, 1, "dot_general"),
        ("cpu", 3, 3, 1, "custom_jvp"),
        ("cpu", 2, 3, 3, "conv_general_dilated"),
        ("cpu", 3, 3, 3, "conv_general_dilated"),
        ("cpu", 3, 1, 1, "dot_general"),
        ("gpu", 2, 3, 1, "dot_general"),
        ("gpu", 3, 3, 1, "conv_general_dilated"),
        ("gpu", 3, 1, 1, "conv_general_dilated"),
    ],
)
def test_what_becomes_a_product(monkeypatch, backend, image, kernel, groups, primitive):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    jaxpr = jax.make_jaxpr(
        functools.partial(
            convolve,
            window_strides=(1, 1),
            padding=[(kernel // 2,) * 2] * 2,
            lhs_dilation=(1, 1),
            rhs_dilation=(1, 1),
            dimension_numbers=LAYOUT,
            feature_group_count=groups,
        )
    )(jnp.zeros((1, image, image, 3)), jnp.zeros((kernel, kernel, 3 // groups, 3)))
    names = [equation.primitive.name for equation in jaxpr.eqns]
    assert names[-1].startswith(primitive) or primitive in names
