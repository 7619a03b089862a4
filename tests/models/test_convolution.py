"""Convolutions of images smaller than the kernel against XLA's own."""

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
    [(3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 4, 4), (5, 1, 2, 1), (7, 2, 3, 1)],
)
def test_equal_to_the_convolution_with_its_derivatives(image, kernel, stride, padding, dilation):
    x, w = random(0, 2, *image, 3), random(1, kernel, kernel, 3, 4)
    arguments = {
        "window_strides": (stride, stride),
        "padding": [(padding, padding)] * 2,
        "lhs_dilation": (1, 1),
        "rhs_dilation": (dilation, dilation),
        "dimension_numbers": LAYOUT,
    }
    here = functools.partial(convolve, **arguments)
    there = functools.partial(lax.conv_general_dilated, **arguments)
    np.testing.assert_allclose(here(x, w), there(x, w), rtol=1e-5, atol=1e-5)
    cotangent = random(2, *there(x, w).shape)
    for found, expected in zip(
        *(jax.vjp(f, x, w)[1](cotangent) for f in (here, there)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "groups", "primitive"),
    [
        (2, 1, "dot_general"),
        (3, 1, "conv_general_dilated"),
        (2, 3, "conv_general_dilated"),
    ],
)
def test_only_images_smaller_than_the_kernel_become_a_product(image, groups, primitive):
    jaxpr = jax.make_jaxpr(
        functools.partial(
            convolve,
            window_strides=(1, 1),
            padding=[(1, 1)] * 2,
            lhs_dilation=(1, 1),
            rhs_dilation=(1, 1),
            dimension_numbers=LAYOUT,
            feature_group_count=groups,
        )
    )(jnp.zeros((1, image, image, 3)), jnp.zeros((3, 3, 3 // groups, 3)))
    assert primitive in str(jaxpr)
