"""A tiny network of every kind with five outputs, an image's shape, and values for its arrays."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.models import (
    MODELS,
    clip_resnet,
    deeplab,
    densenet,
    imagenet_resnet,
    lenet5,
    mlp,
    mobilenet_v1,
    preresnet,
    resnet,
    vgg,
    vit,
)

TINY = {
    "mlp": (mlp((8, 6), 5), (6, 6, 1)),
    "convnet": (MODELS["convnet"]((4, 6), (1, 2), 5), (6, 6, 3)),
    "mlp_bn": (mlp((8, 6), 5, batch_norm=True), (6, 6, 1)),
    "lenet_300_100": (MODELS["lenet_300_100"](5), (6, 6, 1)),
    "lenet5": (lenet5(5), (12, 12, 1)),
    "resnet": (resnet(8, 4, 5), (8, 8, 3)),
    "preresnet": (preresnet(8, 1 / 4, 5), (8, 8, 3)),
    "densenet": (densenet(7, 4, 5), (8, 8, 1)),
    "vgg": (vgg(11, 4, 5), (16, 16, 3)),
    "mobilenet_v1": (mobilenet_v1(1 / 16, 5), (16, 16, 3)),
    "imagenet_resnet": (imagenet_resnet(18, "7x7", 4, 5), (32, 32, 3)),
    "clip_resnet": (clip_resnet(50, 2, 5), (32, 32, 3)),
    "deeplab": (deeplab(18, 4, 8, 5), (20, 28, 3)),
    "vit": (vit(4, 12, 2, 3, 5), (8, 8, 3)),
}
PIECEWISE_LINEAR = [name for name in TINY if name != "vit"]


@functools.cache
def variables(name: str, dtype=np.float32):
    """``(params, state)`` as after some training, without compiling the network's ``init``."""
    network, shape = TINY[name]
    random = np.random.default_rng(0)

    def draw(path, like):
        normal, leaf = random.standard_normal(like.shape), masks.path_of(path)[-1]
        if leaf in ("scale", "var"):
            normal = 1 + 0.5 * np.tanh(normal)
        elif masks.is_kernel((leaf,)):
            normal *= math.sqrt(2 / math.prod(like.shape[:-1]))
        else:
            normal *= 0.1
        return normal.astype(dtype)

    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return jax.tree_util.tree_map_with_path(draw, shapes)


def images(name: str, n: int = 3, dtype=np.float32):
    """``x [n, H, W, channels]``."""
    return np.random.default_rng(1).standard_normal((n, *TINY[name][1])).astype(dtype)
