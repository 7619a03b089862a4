"""DeepLabV3+: semantic segmentation with dilated convolutions (Chen et al., arXiv 1802.02611).

As the PyTorch codes of the field build it, where the paper leaves a choice: a ResNet instead of
Xception, ordinary instead of separable convolutions, one 3x3 convolution in the decoder.

Differs: no dropout after the pyramid (those codes drop 10%), so that a network is a function of
its parameters and inputs alone.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.backbone import Backbone
from ntk_prune.models.linen import conv, conv_bn, mode_of, model, uniform_fan_in
from ntk_prune.types import Array, Dtype, Model

RATES = {8: (12, 24, 36), 16: (6, 12, 18)}


class Pyramid(nn.Module):
    """Atrous spatial pyramid: a 1x1, three dilated 3x3 and the mean over space, side by side."""

    features: int
    rates: tuple[int, ...]
    dtype: Any = None

    @nn.compact
    def __call__(self, x, **mode):
        relu = mode["activation"].relu
        layer = functools.partial(conv_bn, mode=mode, dtype=self.dtype)
        branches = [layer(x, self.features, 1, name="{}0")]
        for i, rate in enumerate(self.rates, 1):
            branches.append(layer(x, self.features, 3, dilation=rate, name=f"{{}}{i}"))
        mean = layer(x.mean(axis=(1, 2), keepdims=True), self.features, 1, name="pool_{}")
        branches.append(jnp.broadcast_to(mean, branches[0].shape))
        y = relu(jnp.concatenate(branches, axis=-1))
        return relu(layer(y, self.features, 1, name="project_{}"))


class DeepLab(nn.Module):
    """``x [B, H, W, channels] -> logits [B, H, W, num_classes]``."""

    backbone: Backbone
    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = mode_of(train, momentum, axis_name, activation)
        layer = functools.partial(conv_bn, mode=mode, dtype=self.dtype)
        features = 4 * self.backbone.width
        low, _, _, high = self.backbone(x, **mode)
        pyramid = Pyramid(features, RATES[self.backbone.output_stride], self.dtype, name="aspp")
        high = upsample(pyramid(high, **mode), low.shape)
        low = activation.relu(layer(low, max(1, 3 * features // 16), 1, name="low_{}"))
        y = jnp.concatenate([low, high], axis=-1)
        y = activation.relu(layer(y, features, 3, name="decoder_{}"))
        head = conv(
            self.num_classes,
            1,
            bias=True,
            bias_init=uniform_fan_in(features),
            name="classifier",
            dtype=self.dtype,
        )
        return upsample(head(y), x.shape)


def upsample(x: Array, shape: tuple[int, ...]) -> Array:
    """Bilinear to the height and width of ``shape`` (PyTorch's ``align_corners=False``)."""
    return jax.image.resize(x, (x.shape[0], *shape[1:3], x.shape[-1]), "bilinear")


def deeplab(
    depth: int = 50,
    width: int = 64,
    output_stride: int = 8,
    num_classes: int = 21,
    dtype: Dtype = None,
) -> Model:
    """DeepLabV3+ on a dilated ImageNet ResNet; a class per pixel, logits [B, H, W, classes].

    Args:
        depth: Of the ResNet: 18, 34, 50, 101 or 152.
        width: Channels of its first stage; those of pyramid and decoder are 4 times as many, and
            3/4 as many of the first stage's output go to the decoder (256 and 48 at width 64).
        output_stride: Pixels per feature of the last stage: 8 (rates 12, 24, 36 in the pyramid) or
            16 (rates 6, 12, 18).
        num_classes: Number of classes, background included.
        dtype: Compute type; parameters stay float32.
    """
    if output_stride not in RATES:
        raise ValueError(f"the output stride of DeepLab is 8 or 16, got {output_stride}")
    backbone = Backbone(depth, width, output_stride=output_stride, dtype=dtype)
    return model(DeepLab(backbone, num_classes, dtype))
