"""Networks as ``Model(init, apply)``. The only package that imports flax."""

from collections.abc import Callable

from ntk_prune.models.convnet import convnet
from ntk_prune.models.lenet import lenet5
from ntk_prune.models.linen import BatchNorm, model
from ntk_prune.models.mlp import lenet_300_100, mlp
from ntk_prune.models.resnet import resnet
from ntk_prune.models.vgg import vgg
from ntk_prune.types import Model

MODELS: dict[str, Callable[..., Model]] = {
    "mlp": mlp,
    "convnet": convnet,
    "lenet_300_100": lenet_300_100,
    "lenet5": lenet5,
    "resnet": resnet,
    "vgg": vgg,
}

__all__ = [
    "MODELS",
    "BatchNorm",
    "convnet",
    "lenet5",
    "lenet_300_100",
    "mlp",
    "model",
    "resnet",
    "vgg",
]
