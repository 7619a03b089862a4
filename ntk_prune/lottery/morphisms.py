"""Masks and weights carried over to wider and to deeper networks.

Elastic lottery tickets (Chen et al., arXiv 2103.16547) repeat or drop the residual blocks of a
ticket; the widths of a ticket are multiplied by repeating its units.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ntk_prune import masks
from ntk_prune.types import Array, Key, Mask, Params

_BLOCK = re.compile(r"blocks_(\d+)")


def widen(tree: Params | Mask, like: Params) -> Params | Mask:
    """Every unit becomes several of the same pattern: ``wide[i, j] = narrow[i // r, j // s]``.

    ``r`` and ``s`` are the ratios of the shapes in ``like``, the parameters (or state) of the wide
    network, to those of ``tree``, axis by axis; they are whole numbers. Each wide unit has its
    parent's pattern with every input repeated, so each layer keeps its density exactly. Copies lie
    side by side: a linear layer that reads flattened channels fits.

    Raises ValueError where the structures differ or a size is no multiple.

    >>> import numpy as np
    >>> widen({"kernel": np.array([[True, False]])}, {"kernel": np.ones((2, 4))})["kernel"].tolist()
    [[True, True, False, False], [True, True, False, False]]
    """
    return jax.tree_util.tree_map_with_path(_repeated, tree, _same_structure(tree, like))


def _repeated(path, leaf: Array, wide: Array) -> Array:
    for axis, ratio in enumerate(_ratios(path, leaf, wide)):
        leaf = jnp.repeat(leaf, ratio, axis)
    return leaf


def _ratios(path, leaf: Array, wide: Array) -> list[int]:
    if leaf.ndim != wide.ndim or any(w % n for n, w in zip(leaf.shape, wide.shape, strict=True)):
        raise ValueError(
            f"{masks.name_of(path)}: {wide.shape} is no whole multiple of {leaf.shape}"
        )
    return [w // n for n, w in zip(leaf.shape, wide.shape, strict=True)]


def _same_structure(tree: Any, like: Any) -> Any:
    if jax.tree.structure(tree) != jax.tree.structure(like):
        raise ValueError("the two networks differ in more than their widths")
    return like


def split_units(key: Key, params: Params, like: Params, noise: float = 0.0) -> Params:
    """Weights of a wider network that computes the same function: units are split into equal parts.

    ``widen``, with kernels divided by the ratio of their inputs: a unit that reads ``r`` copies of
    another takes ``1 / r`` of each. With ``noise``, that share of every kernel's root mean square
    is added to it as a Gaussian, without which the copies would stay equal for ever.
    """

    def split(path, leaf: Array, wide: Array, key: Key) -> Array:
        new = _repeated(path, leaf, wide)
        if not masks.is_kernel(masks.path_of(path)):
            return new
        ratio = _ratios(path, leaf, wide)[-2]
        scale = noise * jnp.sqrt(jnp.square(new).mean())
        return (new + scale * jax.random.normal(key, new.shape, new.dtype)) / ratio

    leaves, treedef = jax.tree.flatten(_same_structure(params, like))
    keys = jax.tree.unflatten(treedef, list(jax.random.split(key, len(leaves))))
    return jax.tree_util.tree_map_with_path(split, params, like, keys)


def change_depth(
    tree: Mapping[str, Any],
    depth: int,
    mapping: Sequence[int] = (),
    key: Key | None = None,
) -> dict[str, Any]:
    """The tree (mask, weights or state) of a CIFAR ResNet with another depth ``6n' + 2``.

    In each of the three stages block ``p`` of the new network is block ``mapping[p]`` of the old
    one. By default the first block stays the first, which alone changes the shape, and the others
    are repeated in turn, or left out evenly: 0, 1, 2 becomes 0, 1, 1, 2, 2. All that is no block
    stays.

    Args:
        tree: With the names ``blocks_0 ... blocks_{3n-1}``.
        depth: Of the new network.
        mapping: ``n'`` positions in a stage of the old network; empty for the default.
        key: If given, the second and later copies of a block are masks, and their prunable leaves
            are shuffled: the same counts at other positions.

    Raises ValueError for a tree without such blocks, a depth that is not 6n+2, or a mapping that
    does not fit.
    """
    old = _blocks_per_stage(tree)
    new = _blocks_at_depth(depth)
    mapping = tuple(mapping) or spread_blocks(old, new)
    if len(mapping) != new or mapping[0] != 0 or not all(0 <= p < old for p in mapping):
        raise ValueError(
            f"mapping {mapping}: expected {new} positions from 0 to {old - 1}, the first of them 0"
        )
    if 0 in mapping[1:]:
        raise ValueError(f"mapping {mapping}: block 0 changes the shape and cannot be repeated")
    result = {name: leaf for name, leaf in tree.items() if not _BLOCK.fullmatch(name)}
    for i in range(3 * new):
        stage, position = divmod(i, new)
        block = tree[f"blocks_{stage * old + mapping[position]}"]
        if key is not None and mapping[position] in mapping[:position]:
            block = masks.shuffle(jax.random.fold_in(key, i), block)
        result[f"blocks_{i}"] = block
    return result


def _blocks_per_stage(tree: Mapping[str, Any]) -> int:
    blocks = [name for name in tree if _BLOCK.fullmatch(name)]
    n, rest = divmod(len(blocks), 3)
    if n == 0 or rest:
        raise ValueError("the depth is changed of CIFAR ResNets (6n+2) only: no such blocks here")
    return n


def _blocks_at_depth(depth: int) -> int:
    n, rest = divmod(depth - 2, 6)
    if n < 1 or rest:
        raise ValueError(f"the depth of a CIFAR ResNet is 6n+2 (8, 14, 20, 32, ...), got {depth}")
    return n


def spread_blocks(old: int, new: int) -> tuple[int, ...]:
    """The default mapping from ``new`` to ``old`` blocks of a stage.

    >>> spread_blocks(3, 5), spread_blocks(5, 3)
    ((0, 1, 1, 2, 2), (0, 1, 3))
    """
    if old == 1 and new > 1:
        raise ValueError("a stage of one block has none that could be repeated")
    return (0, *(1 + math.floor(i * (old - 1) / (new - 1)) for i in range(new - 1)))
