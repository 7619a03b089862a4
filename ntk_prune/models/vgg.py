"""VGG for small images (Simonyan and Zisserman, arXiv 1409.1556), with or without batch norm."""

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
    """Five stages of 3x3 convolutions, a max pool after each of the first four as long as there
    are two pixels to pool, the mean over the space that is left, and one linear layer."""

    convs_per_stage: tuple[int, ...]
    width: int
    num_classes: int
    batch_norm: bool = True
    classifier_std: float | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None, activation=PLAIN):
        mode = mode_of(train, momentum, axis_name, activation)
        index = 0
        for stage, repeats in enumerate(self.convs_per_stage):
            if stage and min(x.shape[1:3]) > 1:
                x = activation.max_pool(x, 2, 2)
            for _ in range(repeats):
                features = self.width * min(2**stage, 8)
                x = conv(features, 3, name=f"conv{index}", bias=True, dtype=self.dtype)(x)
                if self.batch_norm:
                    x = BatchNorm(name=f"bn{index}", dtype=self.dtype)(x, **mode)
                x = activation.relu(x)
                index += 1
        x = x.mean(axis=(1, 2))
        return self._classifier(x.shape[-1])(x)

    def _classifier(self, fan_in: int):
        if self.classifier_std is None:
            return dense(self.num_classes, fan_in, name="fc", dtype=self.dtype)
        init = nn.initializers.normal(self.classifier_std)
        return nn.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="fc")


def vgg(
    depth: int = 16,
    width: int = 64,
    num_classes: int = 10,
    batch_norm: bool = True,
    classifier_std: float | None = None,
    dtype: Dtype = None,
) -> Model:
    """VGG-11, 13, 16 or 19 with one linear layer.

    The code of the three-regime model (Zhou et al., ICML 2023) draws the linear layer with a
    ``classifier_std`` of 0.01 and is otherwise the same on images of 32x32.

    Args:
        depth: 11, 13, 16 or 19.
        width: Channels of the first stage; the others have 2, 4, 8 and 8 times as many.
        num_classes: Number of outputs.
        batch_norm: Batch norm after every convolution.
        classifier_std: Standard deviation of the linear layer's normal weights, with zero biases;
            None: Kaiming normal with fan-in, and PyTorch's uniform biases.
        dtype: Compute type; parameters stay float32.
    """
    if depth not in _CONVS_PER_STAGE:
        raise ValueError(f"VGG comes in depths {sorted(_CONVS_PER_STAGE)}, got {depth}")
    convs = _CONVS_PER_STAGE[depth]
    return model(VGG(convs, width, num_classes, batch_norm, classifier_std, dtype))
