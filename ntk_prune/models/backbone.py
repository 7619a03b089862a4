"""What comes before the head of the ImageNet ResNets (He et al., arXiv 1512.03385)."""

import functools
from typing import Any, Literal, get_args

from flax import linen as nn

from ntk_prune.models.linen import Init, Mode, conv_bn, kaiming_fan_out, mean_pool
from ntk_prune.models.resnet import Block
from ntk_prune.types import Activation, Array

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
OUTPUT_STRIDES = (8, 16, 32)

Stem = Literal["7x7", "3x3", "deep"]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with batch norm and a shortcut; the 3x3 has the stride.

    ``anti_aliased``: a mean over ``stride x stride`` before the last and the shortcut's convolution
    in the place of their strides (Radford et al., arXiv 2103.00020).
    """

    features: int
    stride: int = 1
    dilation: int = 1
    anti_aliased: bool = False
    kernel_init: Init = kaiming_fan_out
    dtype: Any = None

    @nn.compact
    def __call__(self, x, **mode):
        relu = mode["activation"].relu
        layer = functools.partial(
            conv_bn, mode=mode, kernel_init=self.kernel_init, dtype=self.dtype
        )
        stride, window = (1, self.stride) if self.anti_aliased else (self.stride, 1)
        y = relu(layer(x, self.features, 1, name="{}1"))
        y = relu(layer(y, self.features, 3, stride, dilation=self.dilation, name="{}2"))
        y = layer(mean_pool(y, window), 4 * self.features, 1, name="{}3")
        if x.shape != y.shape:
            x = layer(mean_pool(x, window), 4 * self.features, 1, stride, name="shortcut_{}")
        return relu(x + y)


class Backbone(nn.Module):
    """``x [B, H, W, channels] ->`` the outputs of the four stages, strides 4, 8, 16 and 32.

    A stage beyond ``output_stride`` dilates its 3x3 convolutions instead; its first block keeps the
    dilation of the stage before. With the 3x3 stem all strides are a quarter. ``deep`` is the stem
    of CLIP: three 3x3 convolutions and a mean over 2x2, and anti-aliased bottlenecks after it.
    """

    depth: int
    width: int = 64
    stem: Stem = "7x7"
    output_stride: int = 32
    kernel_init: Init = kaiming_fan_out
    dtype: Any = None

    def __post_init__(self):
        super().__post_init__()
        for name, value, valid in (
            ("depth", self.depth, tuple(BLOCKS_PER_STAGE)),
            ("stem", self.stem, get_args(Stem)),
            ("output stride", self.output_stride, OUTPUT_STRIDES),
        ):
            if value not in valid:
                raise ValueError(f"an ImageNet ResNet has a {name} out of {valid}, got {value!r}")

    @nn.compact
    def __call__(self, x, **mode) -> list[Array]:
        block = functools.partial(Block, kernel_init=self.kernel_init, dtype=self.dtype)
        if self.depth >= 50:
            block = functools.partial(
                Bottleneck,
                anti_aliased=self.stem == "deep",
                kernel_init=self.kernel_init,
                dtype=self.dtype,
            )
        x = self._stem(x, mode)
        stages = []
        for stage, repeats in enumerate(BLOCKS_PER_STAGE[self.depth]):
            before, dilation = (max(1, d * 2**stage // self.output_stride) for d in (2, 4))
            for i in range(repeats):
                layer = block(
                    features=self.width * 2**stage,
                    stride=2 if stage and i == 0 and dilation == 1 else 1,
                    dilation=dilation if i else before,
                    name=f"layer{stage + 1}_{i}",
                )
                x = layer(x, **mode)
            stages.append(x)
        return stages

    def _stem(self, x: Array, mode: Mode) -> Array:
        activation: Activation = mode["activation"]
        layer = functools.partial(
            conv_bn, mode=mode, kernel_init=self.kernel_init, dtype=self.dtype
        )
        if self.stem == "7x7":
            x = activation.relu(layer(x, self.width, 7, 2, name="{}1"))
            return activation.max_pool(x, 3, 2, 1)
        if self.stem == "3x3":
            return activation.relu(layer(x, self.width, 3, name="{}1"))
        x = activation.relu(layer(x, self.width // 2, 3, 2, name="{}1"))
        x = activation.relu(layer(x, self.width // 2, 3, name="{}2"))
        return mean_pool(activation.relu(layer(x, self.width, 3, name="{}3")), 2)
