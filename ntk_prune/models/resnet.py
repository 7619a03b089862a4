"""The CIFAR ResNet family of depth 6n+2 (He et al., arXiv 1512.03385), lottery-ticket variant.

The shortcut of a block that changes shape is a 1x1 convolution with batch norm, so ResNet-20 with
width 16 has 270,896 prunable weights.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.linen import (
    DEEPEST,
    Init,
    conv_bn,
    dense,
    kaiming_normal,
    mode_of,
    model,
    over,
)
from ntk_prune.types import Activation, Dtype, Model


class Block(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut."""

    features: int
    stride: int = 1
    dilation: int = 1
    scaled_shortcut: bool = False
    kernel_init: Init = kaiming_normal
    dtype: Any = None

    @nn.compact
    def __call__(self, x, **mode):
        activation: Activation = mode["activation"]
        layer = functools.partial(
            conv_bn, mode=mode, kernel_init=self.kernel_init, dtype=self.dtype
        )
        y = layer(x, self.features, 3, self.stride, dilation=self.dilation, name="{}1")
        y = layer(activation.relu(y), self.features, 3, dilation=self.dilation, name="{}2")
        if x.shape != y.shape:
            x = layer(x, self.features, 1, self.stride, name="shortcut_{}")
        elif self.scaled_shortcut:
            scale = self.variable("constants", "shortcut_scale", jnp.ones, (self.features,))
            x = activation.affine(x, 0.0, over(x, scale.value), 0.0)
        return activation.relu(x + y)


class ResNet(nn.Module):
    """``x [B, H, W, channels] -> logits``: stem, three stages of n blocks, mean, linear."""

    blocks_per_stage: int
    width: int
    num_classes: int
    scaled_shortcuts: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = mode_of(train, momentum, axis_name, activation)
        x = conv_bn(x, self.width, 3, name="{}", mode=mode, dtype=self.dtype)
        x = activation.relu(x)
        block = functools.partial(Block, scaled_shortcut=self.scaled_shortcuts, dtype=self.dtype)
        for i in range(3 * self.blocks_per_stage):
            stage, position = divmod(i, self.blocks_per_stage)
            stride = 2 if stage > 0 and position == 0 else 1
            x = block(self.width * 2**stage, stride, name=f"blocks_{i}")(x, **mode)
        x = x.mean(axis=(1, 2))
        return dense(self.num_classes, x.shape[-1], name="fc", dtype=self.dtype)(x)


def resnet(
    depth: int = 20,
    width: int = 16,
    num_classes: int = 10,
    scaled_shortcuts: bool = False,
    dtype: Dtype = None,
) -> Model:
    """A CIFAR ResNet.

    Args:
        depth: Number of layers, 6n+2: 8, 14, 20, 32, 44, 56, 110, ...
        width: Channels of the first stage; the others have 2 and 4 times as many.
        num_classes: Number of outputs.
        scaled_shortcuts: Multiply identity shortcuts by a scale per channel that is not trained and
            lies in the state: the published code has it, as ones, which changes nothing.
        dtype: Compute type; parameters stay float32.
    """
    if not 8 <= depth <= DEEPEST or (depth - 2) % 6:
        raise ValueError(f"the depth of a CIFAR ResNet is 6n+2 (8, 14, 20, 32, ...), got {depth}")
    return model(ResNet((depth - 2) // 6, width, num_classes, scaled_shortcuts, dtype))
