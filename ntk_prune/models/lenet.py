"""LeNet-5 (LeCun et al., 1998)."""

from typing import Any

from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.linen import conv, dense, flatten, model
from ntk_prune.types import Dtype, Model


class LeNet5(nn.Module):
    """Two 5x5 convolutions (padding 2) with 2x2 max pooling and three linear layers."""

    num_classes: int
    width: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, activation=PLAIN):
        for i, channels in enumerate((6, 16)):
            x = conv(channels * self.width, 5, name=f"conv{i}", bias=True, dtype=self.dtype)(x)
            x = activation.max_pool(activation.relu(x), 2, 2)
        x = flatten(x)
        for i, units in enumerate((120 * self.width, 84 * self.width)):
            x = dense(units, x.shape[-1], name=f"fc{i}", dtype=self.dtype)(x)
            x = activation.relu(x)
        return dense(self.num_classes, x.shape[-1], name="fc2", dtype=self.dtype)(x)


def lenet5(num_classes: int = 10, width: int = 1, dtype: Dtype = None) -> Model:
    """LeNet-5 with ReLU; ``width`` multiplies all layers.

    Args:
        num_classes: Number of outputs.
        width: Factor on the 6, 16 channels and 120, 84 units.
        dtype: Compute type; parameters stay float32.
    """
    return model(LeNet5(num_classes, width, dtype))
