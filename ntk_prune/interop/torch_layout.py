"""PyTorch names and layouts -> Flax variables. Pure arrays; reads no files and needs no PyTorch.

Convolution kernels OIHW -> HWIO, linear weights [out, in] -> [in, out], batch norm's weight, bias,
running_mean, running_var -> scale, bias, mean, var.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.masks import path_of
from ntk_prune.types import Params, State

ModuleName = Callable[[str], str]
"""``'blocks_3/shortcut_conv' -> 'blocks.3.shortcut.0'``: our module -> the PyTorch module."""

NAMED = 10  # problems of each kind in an error: those of another network are hundreds

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
    "shortcut_scale": "shortcut.weight",
}


def kernel(weight: np.ndarray) -> np.ndarray:
    """A convolution's OIHW -> HWIO, a linear layer's [out, in] -> [in, out].

    >>> kernel(np.zeros((16, 3, 5, 5))).shape, kernel(np.zeros((10, 64))).shape
    ((5, 5, 3, 16), (64, 10))
    """
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


def resnet_name(module: str) -> str:
    """The name in the CIFAR ResNets of the lottery-ticket codes.

    >>> resnet_name("blocks_3/shortcut_conv"), resnet_name("blocks_0/bn1"), resnet_name("fc")
    ('blocks.3.shortcut.0', 'blocks.0.bn1', 'fc')
    """
    name = re.sub(r"^blocks_(\d+)", r"blocks.\1", module).replace("/", ".")
    return name.replace("shortcut_conv", "shortcut.0").replace("shortcut_bn", "shortcut.1")


def imagenet_resnet_name(module: str) -> str:
    """The name in torchvision's ResNets, and in those of timm, MoCo, DINO and CLIP.

    >>> imagenet_resnet_name("backbone/layer2_0/shortcut_conv"), imagenet_resnet_name("fc")
    ('layer2.0.downsample.0', 'fc')
    """
    name = re.sub(r"^(?:backbone/)?(layer\d)_(\d+)/", r"\1.\2.", module).removeprefix("backbone/")
    return name.replace("shortcut_conv", "downsample.0").replace("shortcut_bn", "downsample.1")


def in_order(modules: Sequence[str], torch_modules: Sequence[str]) -> ModuleName:
    """Pair two lists of modules, for networks that are a sequence of layers.

    >>> in_order(["fc0", "fc1"], ["1", "3"])("fc1")
    '3'
    """
    if len(modules) != len(torch_modules):
        raise ValueError(
            f"expected {len(modules)} layers, got {len(torch_modules)}: {', '.join(torch_modules)}"
        )
    return dict(zip(modules, torch_modules, strict=True)).__getitem__


def from_torch(
    tensors: Mapping[str, np.ndarray], params: Params, state: State, module_name: ModuleName
) -> tuple[Params, State]:
    """``(params, state)`` of the structure of those given, with the values of ``tensors``.

    ``params`` and ``state`` may be ``jax.eval_shape`` of the model's ``init``. Counters
    (``num_batches_tracked``) are left out. Raises one ValueError naming the missing tensors, those
    not used, and those whose shape does not fit or that are not finite, real numbers.
    """
    used: set[str] = set()
    misshapen: list[str] = []

    def take(path, like: Any) -> np.ndarray | None:
        name = torch_name(path, module_name)
        used.add(name)
        if name not in tensors:
            return None
        array = np.asarray(tensors[name])
        fitting = kernel(array) if path_of(path)[-1] == "kernel" else array
        if fitting.shape != like.shape:
            misshapen.append(
                f"{name}: shape {array.shape} does not fit a layer of shape {like.shape}"
            )
        elif not jnp.issubdtype(array.dtype, jnp.floating):
            misshapen.append(f"{name}: {array.dtype} numbers, where real ones are expected")
        elif not np.isfinite(array).all():
            misshapen.append(f"{name}: not finite")
        return fitting

    taken = jax.tree_util.tree_map_with_path(take, {"params": params, "state": state})
    check_names(used, tensors, misshapen)
    return taken["params"], taken["state"]


def torch_name(key_path, module_name: ModuleName) -> str:
    """The PyTorch name of a leaf of ``{"params": ..., "state": {"batch_stats": ...}}``."""
    path = path_of(key_path)
    modules = path[1:-1] if path[0] == "params" else path[2:-1]
    return f"{module_name('/'.join(modules))}.{_LEAVES[path[-1]]}"


def check_names(expected: Iterable[str], given: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise ValueError naming what is missing from ``given`` and what nobody asked for.

    ``others`` are problems that come as sentences, named with them. Of each kind the first
    ``NAMED`` are named and the rest counted.
    """
    expected = set(expected)
    given = {name for name in given if not name.endswith("num_batches_tracked")}
    problems = [
        f"{word}: {', '.join(_first(sorted(names)))}"
        for word, names in (("missing", expected - given), ("not used", given - expected))
        if names
    ]
    if problems := [*problems, *_first(list(others))]:
        raise ValueError("; ".join(problems))


def _first(problems: list[str]) -> list[str]:
    """The first ``NAMED``, and how many more there are."""
    more = len(problems) - NAMED
    return [*problems[:NAMED], f"and {more} more"] if more > 0 else problems
