"""The network of a file of scores, rebuilt here, and the names that connect the two."""

import dataclasses
import functools
import json
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.interop import torch_layout
from ntk_prune.models import convnet, mlp, resnet
from ntk_prune.types import Mask, Model, Params, State
from tools.parity.files import Arrays


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """A file's contents, its network rebuilt here, and the names that connect the two."""

    arrays: Arrays
    model: Model
    params: Params
    state: State
    mask: Mask
    torch_names: dict[str, str]  # 'blocks_0/conv1/kernel' -> 'blocks.0.conv1.weight'

    def images(self, name: str) -> jax.Array:
        """Inputs [B, C, H, W] as the network takes them: NHWC, or flat in the order CHW."""
        x = self.arrays[name].astype(np.float64)
        flat = self.arrays[f"state/{self.arrays['prunable'][0]}"].ndim == 2
        return jnp.asarray(x.reshape(len(x), -1) if flat else x.transpose(0, 2, 3, 1))

    def kernels(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays ``prefix/<torch name>`` under our names in our layout."""
        return {
            ours: torch_layout.kernel(self.arrays[f"{prefix}/{theirs}"])
            for ours, theirs in self.torch_names.items()
        }

    def tree(self, prefix: str, like: Params) -> Params:
        """``like`` with its prunable leaves replaced by the arrays ``prefix/<torch name>``."""
        kernels = self.kernels(prefix)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: np.asarray(kernels.get(masks.name_of(path), leaf), leaf.dtype), like
        )


def rebuild(arrays: Arrays) -> Reference:
    """The network of the file's arrays. Raises ValueError with one clear line."""
    try:
        meta = json.loads(str(arrays["meta"]))
    except json.JSONDecodeError as error:
        raise ValueError(f"meta is not JSON: {error}") from None
    tensors = Arrays({name: _flat(tensor) for name, tensor in arrays.below("state").items()})
    model, module_name = architecture(meta, tensors, [str(n) for n in arrays["prunable"]])
    reference = Reference(arrays, model, None, None, None, {})
    like = jax.eval_shape(model.init, jax.random.key(0), reference.images("x"))
    params, state = torch_layout.from_torch(tensors, like[0], like[1], module_name)
    params, state = jax.tree.map(lambda a: np.asarray(a, np.float64), (params, state))
    names = _kernel_names(params, module_name)
    torch_layout.check_names(names.values(), map(str, arrays["prunable"]))
    reference = Reference(arrays, model, params, state, None, names)
    mask = reference.tree("mask", jax.tree.map(lambda p: np.ones(p.shape, bool), params))
    masks.check(params, mask)
    return dataclasses.replace(reference, mask=mask)


def _flat(tensor: np.ndarray) -> np.ndarray:
    """The scale of an identity shortcut, recorded as ``[C, 1, 1]``, is ``[C]`` here."""
    return tensor.reshape(-1) if tensor.ndim == 3 else tensor


def architecture(
    meta: dict, tensors: Arrays, prunable: list[str]
) -> tuple[Model, torch_layout.ModuleName]:
    """The network of the file, from the names and shapes of its weights, and how names map."""
    shapes = [tensors[name].shape for name in prunable]
    modules = [name.removesuffix(".weight") for name in prunable]
    classes = shapes[-1][0]
    if blocks := {int(n) for n in re.findall(r"blocks\.(\d+)\.conv1", " ".join(modules))}:
        network = _built(resnet, 2 * len(blocks) + 2, shapes[0][0], classes, scaled_shortcuts=True)
        return network, torch_layout.resnet_name
    if all(len(shape) == 2 for shape in shapes):
        widths = tuple(shape[0] for shape in shapes[:-1])
        ours = [f"fc{i}" for i in range(len(shapes))]
        network = _built(mlp, widths, classes, bias=any(name.endswith(".bias") for name in tensors))
        return network, torch_layout.in_order(ours, modules)
    if meta.get("arch") == "cnn":
        channels, strides = zip(*(layer[1:] for layer in meta["layers"]), strict=True)
        ours = [*(f"conv{i}" for i in range(len(channels))), "fc"]
        return _built(convnet, channels, strides, classes), torch_layout.in_order(ours, modules)
    raise ValueError(f"unknown architecture {meta.get('arch')!r}")


def _kernel_names(params: Params, module_name: torch_layout.ModuleName) -> dict[str, str]:
    paths = jax.tree_util.tree_flatten_with_path({"params": params})[0]
    return {
        masks.name_of(path).removeprefix("params/"): torch_layout.torch_name(path, module_name)
        for path, _ in paths
        if masks.is_kernel(masks.path_of(path))
    }


@functools.cache
def _built(factory: Callable[..., Model], *args, **kwargs) -> Model:
    """One object per architecture, so that files of one architecture share compiled functions."""
    return factory(*args, **kwargs)
