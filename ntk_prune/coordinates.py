"""The kept coordinates of a parameter tree as one flat vector, and back."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.types import Array, Mask, Params

Wrt = str | masks.Prunable | Params
"""Which leaves: ``"all"``, ``"prunable"``, a predicate on their paths, such as
``lambda path: "lora" in path[-1]``, or a tree of bools with the treedef of the parameters, such as
``jax.tree.map(lambda p: p.ndim == 4, params)`` for convolution kernels. Integers, random keys and
other arrays that have no derivative are never meant."""
WRT = ("all", "prunable")


def chosen(params: Params, wrt: Wrt) -> tuple[bool, ...]:
    """Which parameter leaves are meant, in the order of the tree.

    Raises ValueError for another word, a tree that does not fit, or when no leaf is chosen.
    """
    tree = _flags(params, wrt)
    if jax.tree.structure(tree) != jax.tree.structure(params):
        raise ValueError("wrt: the tree of bools does not have the structure of the parameters")
    flags = tuple(
        bool(flag) and masks.is_differentiable(leaf)
        for flag, leaf in zip(jax.tree.leaves(tree), jax.tree.leaves(params), strict=True)
    )
    if not any(flags):
        why = " (called `kernel`): use wrt='all'" if wrt == "prunable" else " of real numbers"
        raise ValueError(f"wrt chooses no parameter{why}")
    return flags


def _flags(params: Params, wrt: Wrt) -> Params:
    """The tree of bools that ``wrt`` stands for."""
    if isinstance(wrt, str):
        if wrt not in WRT:
            raise ValueError(
                f"wrt must be one of {', '.join(WRT)}, a predicate or a tree of bools, got {wrt!r}"
            )
        return masks.prunable(params, masks.is_kernel if wrt == "prunable" else lambda _: True)
    return masks.prunable(params, lambda path: bool(wrt(path))) if callable(wrt) else wrt


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """The surviving coordinates of the chosen leaves, in the order of the tree, row-major.

    Pruned coordinates are not part of a vector: ``size`` counts the kept ones.

    Attributes:
        structure: Treedef of the parameters.
        shapes: Of all leaves.
        dtypes: Of all leaves.
        kept: Positions ``[size]`` in the concatenation of all flattened leaves.
        dtype: Of the vectors, the common type of the chosen leaves.

    >>> params = {"bias": jnp.array([5.0]), "kernel": jnp.array([1.0, 2.0, 3.0])}
    >>> mask = {"bias": np.array([True]), "kernel": np.array([True, False, True])}
    >>> coordinates(params, mask).vector(params).tolist()
    [5.0, 1.0, 3.0]
    >>> coordinates(params, mask, "prunable").tree(jnp.ones(2))["kernel"].tolist()
    [1.0, 0.0, 1.0]
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    kept: np.ndarray
    dtype: Any

    @property
    def size(self) -> int:
        """Length of a vector."""
        return self.kept.size

    def vector(self, tree: Params) -> Array:
        """The entries ``[size]`` of ``tree`` at the kept coordinates."""
        flat = [jnp.ravel(leaf).astype(self.dtype) for leaf in jax.tree.leaves(tree)]
        return jnp.concatenate(flat)[self.kept]

    def tree(self, vector: Array) -> Params:
        """A tree like the parameters with ``vector [size]`` at the kept coordinates, else zeros."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        flat = jnp.zeros(sum(sizes), self.dtype).at[self.kept].set(vector)
        parts = jnp.split(flat, np.cumsum(sizes)[:-1].tolist())
        leaves = [
            part.reshape(shape).astype(dtype)
            for part, shape, dtype in zip(parts, self.shapes, self.dtypes, strict=True)
        ]
        return self.structure.unflatten(leaves)


def coordinates(params: Params, mask: Mask, wrt: Wrt = "all") -> Coordinates:
    """The coordinates of ``params`` that ``mask`` keeps in the leaves that ``wrt`` chooses.

    Raises ValueError for a mask that does not fit, an unknown ``wrt``, or nothing kept.
    """
    masks.check(params, mask)
    flags = chosen(params, wrt)
    leaves, structure = jax.tree.flatten(params)
    kept = np.flatnonzero(
        np.concatenate(
            [np.ravel(m) & flag for m, flag in zip(jax.tree.leaves(mask), flags, strict=True)]
        )
    )
    if not kept.size:
        raise ValueError("no kept coordinate is left to differentiate")
    dtypes = tuple(leaf.dtype for leaf in leaves)
    common = jnp.result_type(*(d for d, flag in zip(dtypes, flags, strict=True) if flag))
    return Coordinates(structure, tuple(leaf.shape for leaf in leaves), dtypes, kept, common)
