"""MobileNet v1 for small images (Howard et al., arXiv 1704.04861).

The variant that the lottery-ticket codes train on CIFAR: the stem and the second separable block
have stride 1, so that 32x32 images leave 2x2 features. Depthwise kernels have shape [3, 3, 1, C];
they are prunable like all others.
"""

import functools
from typing import Any

from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.linen import conv_bn, dense, mode_of, model
from ntk_prune.types import Dtype, Model

# (channels at width 1, stride) of each separable block.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


class Separable(nn.Module):
    """A 3x3 convolution of each channel alone, then a 1x1 over channels, both with batch norm."""

    features: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x, **mode):
        relu = mode["activation"].relu
        layer = functools.partial(conv_bn, mode=mode, dtype=self.dtype)
        channels = x.shape[-1]
        x = relu(layer(x, channels, 3, self.stride, feature_group_count=channels, name="{}1"))
        return relu(layer(x, self.features, 1, name="{}2"))


class MobileNet(nn.Module):
    """Stem, thirteen separable blocks, the mean over space, and one linear layer."""

    width: float
    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = mode_of(train, momentum, axis_name, activation)
        x = conv_bn(x, self._channels(32), 3, name="{}", mode=mode, dtype=self.dtype)
        x = activation.relu(x)
        for i, (channels, stride) in enumerate(BLOCKS):
            block = Separable(self._channels(channels), stride, self.dtype, name=f"blocks_{i}")
            x = block(x, **mode)
        x = x.mean(axis=(1, 2))
        return dense(self.num_classes, x.shape[-1], name="fc", dtype=self.dtype)(x)

    def _channels(self, at_width_1: int) -> int:
        return max(1, round(self.width * at_width_1))


def mobilenet_v1(width: float = 1.0, num_classes: int = 10, dtype: Dtype = None) -> Model:
    """MobileNet v1 for images of 32x32, 3,195,328 prunable weights at width 1 with 10 outputs.

    Args:
        width: Factor on all channels (32 to 1024).
        num_classes: Number of outputs.
        dtype: Compute type; parameters stay float32.
    """
    return model(MobileNet(width, num_classes, dtype))
