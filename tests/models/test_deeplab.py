"""DeepLabV3+: sizes, dilation, upsampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune.activations import PLAIN
from ntk_prune.models.backbone import Backbone
from ntk_prune.models.deeplab import RATES, Pyramid, deeplab, upsample

MODE = {"train": False, "momentum": 0.9, "axis_name": None, "activation": PLAIN}


def stages(backbone: Backbone, size: int):
    x = jnp.zeros((1, size, size, 3))
    shapes, _ = jax.eval_shape(lambda x: backbone.init_with_output(jax.random.key(0), x, **MODE), x)
    return [shape.shape[1:] for shape in shapes]


@pytest.mark.parametrize(
    ("output_stride", "sizes"),
    [(32, (16, 8, 4, 2)), (16, (16, 8, 4, 4)), (8, (16, 8, 8, 8))],
)
@pytest.mark.parametrize("depth", [18, 50])
def test_dilation_replaces_strides_beyond_the_output_stride(depth, output_stride, sizes):
    channels = [2 * (4 if depth == 50 else 1) * 2**i for i in range(4)]
    expected = [(n, n, c) for n, c in zip(sizes, channels, strict=True)]
    assert stages(Backbone(depth, 2, output_stride=output_stride), 64) == expected


def test_513_pixels_leave_65():
    assert [shape[0] for shape in stages(Backbone(18, 2, output_stride=8), 513)] == [
        129,
        65,
        65,
        65,
    ]
    network = deeplab(18, 2, 8, 21)
    x = jnp.zeros((1, 513, 513, 3))
    params, state = jax.eval_shape(network.init, jax.random.key(0), x)
    logits, _ = jax.eval_shape(lambda *a: network.apply(*a, train=True), params, state, x)
    assert logits.shape == (1, 513, 513, 21)


def test_dilation_has_the_parameters_of_strides():
    """So that pretrained weights fit."""
    x = jnp.zeros((1, 32, 32, 3))
    strided, dilated = (
        jax.eval_shape(lambda x, t=backbone: t.init(jax.random.key(0), x, **MODE), x)
        for backbone in (Backbone(50, 2), Backbone(50, 2, output_stride=8))
    )
    assert strided == dilated


@pytest.mark.parametrize(("output_stride", "rates"), [(8, (12, 24, 36)), (16, (6, 12, 18))])
def test_what_a_pixel_of_the_pyramid_sees(output_stride, rates):
    pyramid = Pyramid(2, RATES[output_stride])
    x = np.zeros((1, 81, 1, 1))
    x[0, 40] = 1
    shapes = jax.eval_shape(lambda x: pyramid.init(jax.random.key(0), x, **MODE), x)
    ones = jax.tree.map(lambda s: jnp.ones(s.shape), shapes)
    zero = jax.tree.map(jnp.zeros_like, ones)
    tree = {"params": ones["params"], "batch_stats": zero["batch_stats"]}
    for norm in [name for name in tree["params"] if "bn" in name]:
        tree["params"][norm]["bias"] = zero["params"][norm]["bias"]
    tree["params"]["pool_conv"] = zero["params"]["pool_conv"]
    y = pyramid.apply(tree, x, **MODE)
    seen = {40, *(40 + r for r in rates), *(40 - r for r in rates)}
    assert set(np.flatnonzero(y[0, :, 0, 0])) == seen


def test_upsampling_is_bilinear_between_pixel_centres():
    x = np.arange(3.0).reshape(1, 3, 1, 1)
    y = upsample(x, (1, 6, 2, 9))
    assert y.shape == (1, 6, 2, 1)
    np.testing.assert_allclose(y[0, :, 0, 0], [0, 0.25, 0.75, 1.25, 1.75, 2], atol=1e-6)
    np.testing.assert_array_equal(y[0, :, 0], y[0, :, 1])
