"""The CIFAR DenseNet (Huang et al., arXiv 1608.06993): no bottlenecks, no compression.

Each layer of a dense block is batch norm, ReLU and a 3x3 convolution whose ``growth`` channels are
appended to its input. This is what the code of the three-regime model (Zhou et al., ICML 2023)
builds, read there: 2 x growth channels in the stem, 1x1 transitions that keep the channels, blocks
of ``(depth - 4) / 3`` layers, dropout off. Its runs do not say which depth they took; 40 is the
smallest of the paper.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.linen import (
    DEEPEST,
    BatchNorm,
    bn_relu_conv,
    conv,
    dense,
    kaiming_fan_out,
    mean_pool,
    mode_of,
    model,
    uniform_fan_in,
)
from ntk_prune.types import Dtype, Model


class DenseNet(nn.Module):
    """``x [B, H, W, channels] -> logits``: stem, three dense blocks with transitions between,
    batch norm and ReLU, the mean over space, linear."""

    layers_per_block: int
    growth: int
    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = mode_of(train, momentum, axis_name, activation)
        stem = conv(2 * self.growth, 3, name="conv1", kernel_init=kaiming_fan_out, dtype=self.dtype)
        x = stem(x)
        for block in (1, 2, 3):
            if block > 1:
                name = f"trans{block - 1}_{{}}"
                x = bn_relu_conv(x, x.shape[-1], 1, name=name, mode=mode, dtype=self.dtype)
                x = mean_pool(x, 2)
            for i in range(self.layers_per_block):
                name = f"dense{block}_{i}_{{}}"
                y = bn_relu_conv(x, self.growth, 3, name=name, mode=mode, dtype=self.dtype)
                x = jnp.concatenate((x, y), axis=-1)
        x = activation.relu(BatchNorm(name="bn", dtype=self.dtype)(x, **mode)).mean(axis=(1, 2))
        fan_in = x.shape[-1]
        return dense(
            self.num_classes,
            fan_in,
            kernel_init=uniform_fan_in(fan_in),
            name="fc",
            dtype=self.dtype,
        )(x)


def densenet(
    depth: int = 40, growth: int = 12, num_classes: int = 10, dtype: Dtype = None
) -> Model:
    """A CIFAR DenseNet; images of at least 4x4.

    Convolutions are drawn from N(0, 2 / (h w out)), the linear layer as PyTorch does by default.

    Args:
        depth: Number of layers, 3n+4: 7, 22, 40, 100, ...
        growth: Channels that each layer of a dense block appends.
        num_classes: Number of outputs.
        dtype: Compute type; parameters stay float32.

    >>> import jax, jax.numpy as jnp
    >>> shapes, _ = jax.eval_shape(densenet().init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> shapes["fc"]["kernel"].shape  # 24 + 3 * 12 * 12 channels
    (456, 10)
    """
    if not 7 <= depth <= DEEPEST or (depth - 4) % 3:
        raise ValueError(f"the depth of a DenseNet is 3n+4 (7, 22, 40, 100, ...), got {depth}")
    if growth < 1:
        raise ValueError(f"the growth of a DenseNet is at least 1, got {growth}")
    return model(DenseNet((depth - 4) // 3, growth, num_classes, dtype))
