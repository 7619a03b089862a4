"""Per-example Jacobians of any ``f(params, x [B, ...]) -> [B, C]``, masked or not.

The network is ``f(params * mask)`` and the derivative is taken in the weights under the mask, so a
pruned coordinate contributes nothing: ``J = mask * df/dw`` at ``w = params * mask``.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.coordinates import chosen
from ntk_prune.types import Array, Mask, Model, Params, State

Function = Callable[[Params, Array], Array] | Model


def call(f: Function, params: Params, state: State, x: Array) -> Array:
    """The logits ``[B, C]`` of a plain function, or of a ``Model`` under running statistics."""
    if isinstance(f, Model):
        return f.apply(params, state, x, train=False)[0]
    return f(params, x)


def parse_outputs(outputs: str, num_outputs: int) -> tuple[str, int | None]:
    """Read a convention: ``("full" | "trace" | "sum", None)`` or ``("class", k)``.

    >>> parse_outputs("class:3", 10)
    ('class', 3)
    """
    word, _, index = outputs.partition(":")
    if outputs in ("full", "trace", "sum"):
        return outputs, None
    if word == "class" and index.isdigit() and int(index) < num_outputs:
        return "class", int(index)
    raise ValueError(
        f"outputs must be full, trace, sum or class:k with k < {num_outputs}, got {outputs!r}"
    )


def cotangents(outputs: str, num_outputs: int, dtype: Any) -> Array:
    """The rows ``[m, C]`` by which the outputs are combined before differentiating."""
    word, k = parse_outputs(outputs, num_outputs)
    if word == "sum":
        return jnp.ones((1, num_outputs), dtype)
    rows = jnp.eye(num_outputs, dtype=dtype)
    return rows if k is None else rows[k : k + 1]


def split(flags: tuple[bool, ...], params: Params) -> tuple[list[Array], Callable]:
    """The chosen leaves, and the function that puts replacements of them back into the tree."""
    leaves, structure = jax.tree.flatten(params)
    picked = [leaf for leaf, flag in zip(leaves, flags, strict=True) if flag]

    def merge(values: list[Array]) -> Params:
        fresh = iter(values)
        return structure.unflatten(
            [next(fresh) if flag else leaf for leaf, flag in zip(leaves, flags, strict=True)]
        )

    return picked, merge


@functools.partial(jax.jit, static_argnames=("f", "flags", "outputs"))
def leaf_jacobians(f: Function, flags, outputs: str, params: Params, state: State, x: Array):
    """One array ``[B, m, *leaf]`` for each chosen leaf: reverse mode, vmapped over the examples."""
    theta, merge = split(flags, params)

    def one(xi: Array) -> list[Array]:
        logits, vjp = jax.vjp(lambda values: call(f, merge(values), state, xi[None])[0], theta)
        return jax.vmap(vjp)(cotangents(outputs, logits.size, logits.dtype))[0]

    return jax.vmap(one)(x)


def kept_indices(flags: tuple[bool, ...], mask: Mask | None) -> list[np.ndarray | None]:
    """For each chosen leaf the flat positions that survive, or None where all do."""
    if mask is None:
        return [None] * sum(flags)
    leaves = [np.asarray(m) for m, flag in zip(jax.tree.leaves(mask), flags, strict=True) if flag]
    return [None if m.all() else np.flatnonzero(m) for m in leaves]


def jacobian(
    f: Function,
    params: Params,
    x: Array,
    *,
    state: State = None,
    mask: Mask | None = None,
    outputs: str = "full",
    wrt: str = "all",
) -> Array:
    """The Jacobian over the surviving coordinates, ``J [B, m, P]``, in the order of the tree.

    ``m`` is the number of outputs for ``outputs="full"`` and ``"trace"``, and 1 otherwise; ``P``
    counts the kept coordinates of the chosen leaves, so ``einsum("imp,jnp->ijmn", J, J)`` is the
    full kernel.

    >>> w = {"kernel": jnp.array([[1.0, -1.0], [2.0, 0.5]])}
    >>> jacobian(lambda p, x: x @ p["kernel"], w, jnp.array([[3.0, 4.0]])).tolist()
    [[[3.0, 0.0, 4.0, 0.0], [0.0, 3.0, 0.0, 4.0]]]
    """
    params = masked(params, mask)
    flags = chosen(params, wrt)
    parts = leaf_jacobians(f, flags, outputs, params, state, x)
    kept = kept_indices(flags, mask)
    return jnp.concatenate([compact(j, k) for j, k in zip(parts, kept, strict=True)], axis=-1)


def masked(params: Params, mask: Mask | None) -> Params:
    """``params * mask`` with the mask checked; the parameters themselves without one."""
    if mask is None:
        return params
    masks.check(params, mask)
    return masks.apply(params, mask)


def compact(jacobian: Array, kept: np.ndarray | None) -> Array:
    """``[B, m, *leaf] -> [B, m, kept]``."""
    flat = jacobian.reshape(*jacobian.shape[:2], -1)
    return flat if kept is None else flat[..., kept]
