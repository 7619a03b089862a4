"""The networks and images of a three-regime file, under our names and in our layouts.

A file holds PreResNets of one ``depth`` and ``width_k`` (without these, names and shapes tell), as
state dicts ``<network>/<torch name>``, and digits as uint8 images 8x8 with values 0..16.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.interop import torch_layout
from ntk_prune.landscape.connectivity import Network
from ntk_prune.models import preresnet
from ntk_prune.types import Array, Mask, Model, Params, State
from tools.parity.files import Arrays, Pairs

SIDE = 32  # of the images that the networks see
NETWORKS = ("netA", "net", "weights", "init")


@dataclasses.dataclass(frozen=True, eq=False)
class PreResNets:
    """A file's arrays and the architecture of its networks."""

    arrays: Arrays

    @functools.cached_property
    def model(self) -> Model:
        """The architecture."""
        tensors = next((t for t in map(self.arrays.below, NETWORKS) if t), Arrays())
        channels, classes = len(tensors["conv1.weight"]), len(tensors["fc.weight"])
        blocks = {name.split(".")[1] for name in tensors if name.startswith("layer1.")}
        depth = self.arrays.get("depth", 6 * len(blocks) + 2)
        return preresnet(int(depth), float(self.arrays.get("width_k", channels / 16)), classes)

    @functools.cached_property
    def shapes(self) -> Network:
        """The shapes of ``(params, state)``."""
        return jax.eval_shape(self.model.init, jax.random.key(0), np.zeros((1, SIDE, SIDE, 3)))

    def network(self, name: str) -> Network:
        """``(params, state)`` of the state dict ``name/...``, in its type."""
        tensors = _tensors(self.arrays.below(name))
        variables = torch_layout.from_torch(tensors, *self.shapes, _module_name)
        return jax.tree.map(jnp.asarray, variables)

    def params(self, name: str, missing: Any = 0.0) -> Params:
        """The arrays ``name/...`` of parameters alone; full of ``missing`` where there is none."""

        def leaf(path, like: Any) -> jax.Array:
            key = f"{name}/{_torch_name('params', path)}"
            if key not in self.arrays:
                return jnp.full(like.shape, missing)
            return jnp.asarray(_our_layout(path, self.arrays[key]))

        return jax.tree_util.tree_map_with_path(leaf, self.shapes[0])

    def mask(self, name: str = "mask") -> Mask:
        """The masks ``name/...``; what has none is kept."""
        mask = self.params(name, missing=True)
        masks.check(self.shapes[0], mask)
        return mask

    @functools.cached_property
    def kernel_names(self) -> dict[str, str]:
        """``{'layer1_0/conv1/kernel': 'layer1.0.conv1.weight'}``."""
        flat = jax.tree_util.tree_flatten_with_path(self.shapes[0])[0]
        paths = [path for path, _ in flat if masks.is_kernel(masks.path_of(path))]
        return {masks.name_of(path): _torch_name("params", path) for path in paths}

    def pairs(
        self, name: str, params: Params = None, state: State = None, *, masked: bool = False
    ) -> Pairs:
        """Our trees beside the arrays ``name/...``, as many as the file has; ``masked``: these
        times the file's masks.

        Raises ValueError for arrays of parameters or statistics that are not in the trees.
        """
        reference, pairs = _tensors(self.arrays.below(name)), []
        if masked:
            reference = {k: v * self.arrays.get(f"mask/{k}", 1) for k, v in reference.items()}
        for kind, tree in (("params", params), ("state", state)):
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
                expected = reference.pop(_torch_name(kind, path), None)
                if expected is not None:
                    pairs.append((np.asarray(leaf), _our_layout(path, expected)))
        torch_layout.check_names([], reference)
        return pairs

    def images(self, name: str = "images_8x8") -> jax.Array:
        """The digits ``[N, 8, 8]`` as normalised inputs ``[N, 32, 32, 3]``: pixels are repeated to
        the size, the grey channel three times."""
        grey = self.arrays[name] / 16
        times = SIDE // grey.shape[1]
        grey = grey.repeat(times, axis=1).repeat(times, axis=2)
        normalised = (grey[..., None] - self.arrays["channel_mean"]) / self.arrays["channel_std"]
        return jnp.asarray(normalised)


_module_name = torch_layout.imagenet_resnet_name  # these have torchvision's names for blocks


def _torch_name(kind: str, path) -> str:
    return torch_layout.torch_name((jax.tree_util.DictKey(kind), *path), _module_name)


def _our_layout(path, array: np.ndarray) -> np.ndarray:
    return torch_layout.kernel(array) if masks.is_kernel(masks.path_of(path)) else array


def _tensors(arrays: Arrays) -> Arrays:
    """Those of a state dict: other quantities have no dot in their names, or a slash."""
    return Arrays({k: v for k, v in arrays.items() if "." in k and "/" not in k})


def in_batches(array: Array, size: int) -> list[Array]:
    """Consecutive slices ``[size, ...]``, the rest last."""
    return [array[i : i + size] for i in range(0, len(array), size)]
