"""Reference files: the arrays that a file holds and the network that they belong to."""

import dataclasses
import functools
import json
import re
import zipfile
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.interop import torch_layout
from ntk_prune.models import convnet, mlp, resnet
from ntk_prune.types import Mask, Model, Params, State
from tools.reference_draws import shortcut_scales

Arrays = Mapping[str, np.ndarray]


class _Arrays(dict[str, np.ndarray]):
    """A file's arrays; asking for one that is missing is an error to show, not a bug here."""

    def __missing__(self, name: str) -> np.ndarray:
        raise ValueError(f"the file has no {name}")


@dataclasses.dataclass(frozen=True)
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
            lambda path, leaf: jnp.asarray(kernels.get(masks.name_of(path), leaf), leaf.dtype), like
        )


def load(path: str) -> Reference:
    """Read a file and rebuild its network. Raises ValueError or OSError with one clear line."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = _Arrays(file)
    except (zipfile.BadZipFile, EOFError, KeyError) as error:
        raise ValueError(f"not an .npz file: {error}") from None
    except TypeError:
        raise ValueError("a single array, not an .npz file") from None
    try:
        meta = json.loads(str(arrays["meta"]))
    except json.JSONDecodeError as error:
        raise ValueError(f"meta is not JSON: {error}") from None
    states = [name for name in arrays if name.startswith("state/")]
    tensors = _Arrays({name.removeprefix("state/"): arrays[name] for name in states})
    if "blocks.0.conv1.weight" in tensors:
        tensors.update(shortcut_scales(tensors))
    model, module_name = architecture(meta, tensors, [str(n) for n in arrays["prunable"]])
    reference = Reference(arrays, model, None, None, None, {})
    like = jax.eval_shape(model.init, jax.random.key(0), reference.images("x"))
    params, state = torch_layout.from_torch(tensors, like[0], like[1], module_name)
    params, state = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), (params, state))
    names = _kernel_names(params, module_name)
    torch_layout.check_names(names.values(), map(str, arrays["prunable"]))
    reference = Reference(arrays, model, params, state, None, names)
    mask = reference.tree("mask", masks.ones_like(params))
    masks.check(params, mask)
    return dataclasses.replace(reference, mask=mask)


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
