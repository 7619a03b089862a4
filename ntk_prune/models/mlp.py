"""Fully connected networks."""

from typing import Any

from flax import linen as nn

from ntk_prune.activations import PLAIN
from ntk_prune.models.linen import BatchNorm, dense, flatten, mode_of, model
from ntk_prune.types import Dtype, Model

ACTIVATIONS = {
    "relu": nn.relu,
    "softplus": nn.softplus,
    "gelu": nn.gelu,
    "tanh": nn.tanh,
    "identity": lambda x: x,
}


class MLP(nn.Module):
    """``x [B, ...] -> logits [B, num_classes]`` through hidden layers of the given widths."""

    widths: tuple[int, ...]
    num_classes: int
    activation: str = "relu"
    bias: bool = True
    batch_norm: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x, *, train=False, momentum=0.9, axis_name=None, activation=PLAIN):
        if activation is not PLAIN and self.activation not in ("relu", "identity"):
            raise ValueError(
                f"a network of {self.activation} units has no paths to follow: use relu"
            )
        act = activation.relu if self.activation == "relu" else ACTIVATIONS[self.activation]
        mode = mode_of(train, momentum, axis_name, activation)
        x = flatten(x)
        for i, width in enumerate((*self.widths, self.num_classes)):
            x = dense(width, x.shape[-1], name=f"fc{i}", bias=self.bias, dtype=self.dtype)(x)
            if i < len(self.widths):
                if self.batch_norm:
                    x = BatchNorm(name=f"bn{i}", dtype=self.dtype)(x, **mode)
                x = act(x)
        return x


def mlp(
    widths: tuple[int, ...] = (100, 100, 100, 100, 100),
    num_classes: int = 10,
    activation: str = "relu",
    bias: bool = True,
    batch_norm: bool = False,
    dtype: Dtype = None,
) -> Model:
    """A fully connected network.

    Args:
        widths: Units of each hidden layer.
        num_classes: Number of outputs.
        activation: relu, softplus, gelu, tanh or identity.
        bias: Whether layers have biases.
        batch_norm: Whether batch norm stands before the activations.
        dtype: Compute type; parameters stay float32.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; choose one of {sorted(ACTIVATIONS)}")
    return model(MLP(tuple(widths), num_classes, activation, bias, batch_norm, dtype))


def lenet_300_100(num_classes: int = 10, dtype: Dtype = None) -> Model:
    """LeNet-300-100 (LeCun et al., 1998).

    Args:
        num_classes: Number of outputs.
        dtype: Compute type; parameters stay float32.
    """
    return mlp((300, 100), num_classes, dtype=dtype)
