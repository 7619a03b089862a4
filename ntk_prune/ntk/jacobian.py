"""Per-example Jacobians of any ``f(params, x [B, ...]) -> [B, C]``, masked or not.

The network is ``f(params * mask)`` and the derivative is taken in the weights under the mask, so a
pruned coordinate contributes nothing: ``J = mask * df/dw`` at ``w = params * mask``.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.coordinates import Wrt, chosen
from ntk_prune.ntk import inputs
from ntk_prune.ntk.functions import Function, Outputs, call, cotangents, masked, named, split
from ntk_prune.ntk.identity import keyed
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.types import Array, Mask, Model, Params, State


@functools.partial(jax.jit, static_argnames=("f", "flags", "outputs"))
def leaf_jacobians(f: Function, flags, outputs: str, params: Params, state: State, x: Inputs):
    """One array ``[B, m, *leaf]`` for each chosen leaf: reverse mode, vmapped over the examples."""
    theta, merge = split(flags, params)

    def one(xi: Inputs) -> list[Array]:
        example = inputs.alone(xi)
        logits, vjp = jax.vjp(lambda values: call(f, merge(values), state, example)[0], theta)
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
    x: Inputs,
    *,
    state: State = None,
    mask: Mask | None = None,
    outputs: Outputs = "full",
    wrt: Wrt = "all",
) -> Array:
    """The Jacobian over the surviving coordinates, ``J [B, m, P]``, in the order of the tree.

    ``m`` is the number of outputs for ``outputs="full"`` and ``"trace"``, ``k`` for a projection
    ``[C, k]``, and 1 otherwise; ``P``
    counts the kept coordinates of the chosen leaves, so ``einsum("imp,jnp->ijmn", J, J)`` is the
    full kernel.

    >>> w = {"kernel": jnp.array([[1.0, -1.0], [2.0, 0.5]])}
    >>> jacobian(lambda p, x: x @ p["kernel"], w, jnp.array([[3.0, 4.0]])).tolist()
    [[[3.0, 0.0, 4.0, 0.0], [0.0, 3.0, 0.0, 4.0]]]
    """
    params, state, mask, x = inputs.gathered((params, state, mask, x))
    params = masked(params, mask)
    flags = chosen(params, wrt)
    f, outputs = named(f, outputs)
    f = f if isinstance(f, Model) else keyed(f)
    parts = leaf_jacobians(f, flags, outputs, params, state, x)
    kept = kept_indices(flags, mask)
    return jnp.concatenate([compact(j, k) for j, k in zip(parts, kept, strict=True)], axis=-1)


def compact(jacobian: Array, kept: np.ndarray | None) -> Array:
    """``[B, m, *leaf] -> [B, m, kept]``."""
    flat = jacobian.reshape(*jacobian.shape[:2], -1)
    return flat if kept is None else flat[..., kept]
