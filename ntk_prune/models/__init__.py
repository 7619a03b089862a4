"""Networks as ``Model(init, apply)``. The only package that imports flax."""

from collections.abc import Callable

from ntk_prune.models.convnet import convnet
from ntk_prune.models.deeplab import deeplab
from ntk_prune.models.densenet import densenet
from ntk_prune.models.imagenet_resnet import clip_resnet, imagenet_resnet
from ntk_prune.models.lenet import lenet5
from ntk_prune.models.linen import BatchNorm, model
from ntk_prune.models.mlp import lenet_300_100, mlp
from ntk_prune.models.mobilenet import mobilenet_v1
from ntk_prune.models.preresnet import preresnet
from ntk_prune.models.resnet import resnet
from ntk_prune.models.vgg import vgg
from ntk_prune.models.vit import vit
from ntk_prune.types import Model

MODELS: dict[str, Callable[..., Model]] = {
    "mlp": mlp,
    "convnet": convnet,
    "lenet_300_100": lenet_300_100,
    "lenet5": lenet5,
    "resnet": resnet,
    "preresnet": preresnet,
    "densenet": densenet,
    "vgg": vgg,
    "mobilenet_v1": mobilenet_v1,
    "imagenet_resnet": imagenet_resnet,
    "clip_resnet": clip_resnet,
    "deeplab": deeplab,
    "vit": vit,
}

__all__ = [
    "MODELS",
    "BatchNorm",
    "clip_resnet",
    "convnet",
    "deeplab",
    "densenet",
    "imagenet_resnet",
    "lenet5",
    "lenet_300_100",
    "mlp",
    "mobilenet_v1",
    "model",
    "preresnet",
    "resnet",
    "vgg",
    "vit",
]
