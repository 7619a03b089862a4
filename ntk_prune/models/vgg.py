"""VGG with batch norm for small images (Simonyan and Zisserman, arXiv 1409.1556)."""

from typing import Any

from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.linen import BatchNorm, conv, dense, mode_of, model
from ntk_prune.types import Dtype, Model

_CONVS_PER_STAGE = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(nn.Module):
    """Five stages of 3x3 convolutions with batch norm, a max pool after each of the first four,
    the mean over the space that is left, and one linear layer."""

    convs_per_stage: tuple[int, ...]
    width: int
    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = mode_of(train, momentum, axis_name, activation)
        index = 0
        for stage, repeats in enumerate(self.convs_per_stage):
            if stage:
                x = activation.max_pool(x, 2, 2)
            for _ in range(repeats):
                features = self.width * min(2**stage, 8)
                x = conv(features, 3, name=f"conv{index}", bias=True, dtype=self.dtype)(x)
                x = activation.relu(BatchNorm(name=f"bn{index}", dtype=self.dtype)(x, **mode))
                index += 1
        x = x.mean(axis=(1, 2))
        return dense(self.num_classes, x.shape[-1], name="fc", dtype=self.dtype)(x)


def vgg(depth: int = 16, width: int = 64, num_classes: int = 10, dtype: Dtype = None) -> Model:
    """VGG-11, 13, 16 or 19 with batch norm and one linear layer; images of at least 16x16.

    Args:
        depth: 11, 13, 16 or 19.
        width: Channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        num_classes: Number of outputs.
        dtype: Compute type; parameters stay float32.
    """
    if depth not in _CONVS_PER_STAGE:
        raise ValueError(f"VGG comes in depths {sorted(_CONVS_PER_STAGE)}, got {depth}")
    return model(VGG(_CONVS_PER_STAGE[depth], width, num_classes, dtype))
