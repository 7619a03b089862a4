"""Reference files of the three-regime protocol: arrays under PyTorch's names, in float64."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.interop.torch_layout import from_torch, imagenet_resnet_name, kernel, torch_name
from ntk_prune.masks import is_kernel, path_of
from ntk_prune.models import preresnet
from ntk_prune.types import Mask, Model, Params, State


@functools.cache
def read(name: str) -> dict[str, np.ndarray]:
    """The arrays of ``three_regime_<name>.npz``."""
    with np.load(Path(__file__).parent / f"three_regime_{name}.npz", allow_pickle=False) as file:
        return dict(file)


@functools.cache
def network(depth: int, width: float) -> tuple[Model, Params, State]:
    """A PreResNet for images of 32x32 and the shapes of its variables."""
    model = preresnet(depth, width)
    return model, *jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 32, 32, 3)))


def under(file: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names start with ``prefix/``, without it."""
    prefix += "/"
    return {k.removeprefix(prefix): v for k, v in file.items() if k.startswith(prefix)}


def variables(tensors: dict[str, np.ndarray], params: Params, state: State):
    """``(params, state)`` with the values of a state dict."""
    own = {k: v for k, v in tensors.items() if "/" not in k and "." in k}
    return from_torch(own, params, state, imagenet_resnet_name)


def kernel_name(key_path) -> str:
    """The PyTorch name of a leaf of the parameters."""
    path = (jax.tree_util.DictKey("params"), *key_path)
    return torch_name(path, imagenet_resnet_name)


def mask_like(tensors: dict[str, np.ndarray], params: Params) -> Mask:
    """The mask of kernels in ``tensors``; all True where there is none."""

    def leaf(path, like):
        name = kernel_name(path)
        if is_kernel(path_of(path)) and name in tensors:
            return kernel(tensors[name])
        return np.ones(like.shape, bool)

    return jax.tree_util.tree_map_with_path(leaf, params)


def inputs(file: dict[str, np.ndarray], rows: slice) -> jax.Array:
    """The digits ``[B, 8, 8]`` as normalised images ``[B, 32, 32, 3]``."""
    pixels = file["images_8x8"][rows].repeat(4, axis=1).repeat(4, axis=2) / 16
    rgb = np.repeat(pixels[..., None], 3, axis=-1)
    return jnp.asarray((rgb - file["channel_mean"]) / file["channel_std"])
