"""The kernel split by groups of parameters: ``K = sum_g J_g J_g^T``, exact and without remainder.

The kernel is a sum over coordinates, so the kernels of groups that divide the parameters add up to
the whole one.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ntk_prune import masks
from ntk_prune.coordinates import Wrt, chosen
from ntk_prune.ntk.empirical import empirical_ntk
from ntk_prune.ntk.functions import Function
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.types import Params


def module_name(path: masks.Path) -> str:
    """The module of a leaf: kernel and bias of a layer are one group.

    >>> module_name(("block", "conv", "kernel"))
    'block/conv'
    """
    return "/".join(masks.parent(path))


def layer_kernels(
    f: Function,
    params: Params,
    x1: Inputs,
    x2: Inputs | None = None,
    *,
    group: Callable[[masks.Path], str] = module_name,
    wrt: Wrt = "all",
    **options: Any,
) -> dict[str, np.ndarray]:
    """The kernel of every group of parameters; their sum is ``empirical_ntk``.

    Each is a call of ``empirical_ntk``: together their products cost what those of the whole kernel
    do, but forward and backward passes are repeated for every group.

    Args:
        f: As for ``empirical_ntk``.
        params: The parameters.
        x1: Inputs.
        x2: Other inputs; None for ``x1`` itself.
        group: The name of the group of a leaf, by its path; default the module that holds it, and
            ``""`` for arrays at the top of the tree.
        wrt: Which leaves are divided into groups, as for ``empirical_ntk``.
        options: The other keyword arguments of ``empirical_ntk``.

    Returns:
        The kernels by name, in the order of the tree, in the shape that ``outputs`` asks for.

    Raises:
        ValueError: for a group that is not a string, and as ``empirical_ntk`` does.

    >>> import jax.numpy as jnp
    >>> w = {"fc1": {"kernel": jnp.eye(2)}, "fc2": {"kernel": jnp.full((2, 1), 2.0)}}
    >>> f = lambda p, x: x @ p["fc1"]["kernel"] @ p["fc2"]["kernel"]
    >>> kernels = layer_kernels(f, w, jnp.array([[3.0, 4.0]]), outputs="trace")
    >>> {name: kernel.tolist() for name, kernel in kernels.items()}
    {'fc1': [[200.0]], 'fc2': [[25.0]]}
    """
    flags = chosen(params, wrt)
    names = _names(params, group, flags)
    structure = jax.tree.structure(params)
    return {
        name: empirical_ntk(
            f, params, x1, x2, wrt=structure.unflatten([n == name for n in names]), **options
        )
        for name in dict.fromkeys(names)
        if name is not None
    }


def _names(params: Params, group: Callable[[masks.Path], str], flags) -> list[str | None]:
    """The group of every leaf; None for those that are not chosen."""
    names: list[str | None] = []
    paths = [masks.path_of(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    for path, flag in zip(paths, flags, strict=True):
        name = group(path) if flag else None
        if flag and not isinstance(name, str):
            raise ValueError(f"group must name every leaf by a string, got {name!r} for {path}")
        names.append(name)
    return names
