"""A plain convolutional network without biases and batch norm, for exact statements on paths."""

from typing import Any

from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.linen import conv, dense, model
from ntk_prune.types import Model


class ConvNet(nn.Module):
    """3x3 convolutions (padding 1) with ReLU, the mean over space, and one linear layer."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, activation=PLAIN):
        for i, (channels, stride) in enumerate(zip(self.channels, self.strides, strict=True)):
            x = conv(channels, 3, stride, name=f"conv{i}", dtype=self.dtype)(x)
            x = activation.relu(x)
        x = x.mean(axis=(1, 2))
        return dense(self.num_classes, x.shape[-1], name="fc", bias=False, dtype=self.dtype)(x)


def convnet(
    channels: tuple[int, ...] = (8, 16, 16),
    strides: tuple[int, ...] = (1, 2, 1),
    num_classes: int = 10,
    dtype: Any = None,
) -> Model:
    """A small convolutional network, positively homogeneous in every layer's weights.

    Args:
        channels: Channels of each convolution.
        strides: Stride of each convolution.
        num_classes: Number of outputs.
        dtype: Compute type, e.g. bfloat16; parameters stay float32.
    """
    if len(channels) != len(strides):
        raise ValueError(f"{len(channels)} channels need as many strides, got {len(strides)}")
    return model(ConvNet(tuple(channels), tuple(strides), num_classes, dtype))
