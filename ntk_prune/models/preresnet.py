"""The CIFAR ResNet with pre-activation (He et al., arXiv 1603.05027) of depth 6n+2.

Batch norm and ReLU come before each convolution, and a block adds its raw input. As in the code of
the three-regime model (Zhou et al., ICML 2023), the shortcut of a block that changes shape is a
1x1 convolution of the raw input without batch norm, so PreResNet-20 has 270,256 convolution
weights. The paper's own blocks of that kind project the activated input.
"""

from typing import Any

from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.linen import (
    DEEPEST,
    BatchNorm,
    bn_relu_conv,
    conv,
    dense,
    kaiming_fan_out,
    mode_of,
    model,
    uniform_fan_in,
)
from ntk_prune.types import Dtype, Model


class Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, and a shortcut of the raw input."""

    features: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x, **mode):
        y = bn_relu_conv(x, self.features, 3, self.stride, name="{}1", mode=mode, dtype=self.dtype)
        y = bn_relu_conv(y, self.features, 3, name="{}2", mode=mode, dtype=self.dtype)
        if x.shape != y.shape:
            shortcut = conv(
                self.features,
                1,
                self.stride,
                name="shortcut_conv",
                kernel_init=kaiming_fan_out,
                dtype=self.dtype,
            )
            x = shortcut(x)
        return x + y


class PreResNet(nn.Module):
    """``x [B, H, W, channels] -> logits``: stem, three stages of n blocks, batch norm and ReLU,
    the mean over space, linear."""

    blocks_per_stage: int
    channels: tuple[int, int, int]
    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = mode_of(train, momentum, axis_name, activation)
        stem = conv(
            self.channels[0], 3, name="conv1", kernel_init=kaiming_fan_out, dtype=self.dtype
        )
        x = stem(x)
        for stage, features in enumerate(self.channels):
            for i in range(self.blocks_per_stage):
                stride = 2 if stage and i == 0 else 1
                block = Block(features, stride, self.dtype, name=f"layer{stage + 1}_{i}")
                x = block(x, **mode)
        x = activation.relu(BatchNorm(name="bn", dtype=self.dtype)(x, **mode)).mean(axis=(1, 2))
        fan_in = x.shape[-1]
        return dense(
            self.num_classes,
            fan_in,
            kernel_init=uniform_fan_in(fan_in),
            name="fc",
            dtype=self.dtype,
        )(x)


def preresnet(
    depth: int = 20, width: float = 1.0, num_classes: int = 10, dtype: Dtype = None
) -> Model:
    """A CIFAR ResNet with pre-activation.

    Convolutions are drawn from N(0, 2 / (h w out)), the linear layer as PyTorch does by default.
    The last pool is the mean over whatever space is left, so images of any size will do.

    Args:
        depth: Number of layers, 6n+2: 8, 14, 20, 32, ...
        width: Factor k on the channels of the stages, int(16 k), int(32 k) and int(64 k).
        num_classes: Number of outputs.
        dtype: Compute type; parameters stay float32.

    >>> import jax, jax.numpy as jnp
    >>> shapes, _ = jax.eval_shape(preresnet().init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> shapes["layer2_0"]["shortcut_conv"]["kernel"].shape
    (1, 1, 16, 32)
    """
    if not 8 <= depth <= DEEPEST or (depth - 2) % 6:
        raise ValueError(f"the depth of a PreResNet is 6n+2 (8, 14, 20, 32, ...), got {depth}")
    if not 1 / 16 <= width <= 2**12:
        raise ValueError(f"the width factor of a PreResNet is 1/16 to 4096, got {width}")
    channels = (int(16 * width), int(32 * width), int(64 * width))
    return model(PreResNet((depth - 2) // 6, channels, num_classes, dtype))
