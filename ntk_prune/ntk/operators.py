"""The kernel without the kernel: products of ``K`` and ``J`` with flat vectors.

``J [nC, P]`` is the Jacobian of all logits ``f(params * mask, x) [n, C]``, flattened row-major, in
the chosen leaves, and ``K = J J^T``. ``J^T u`` is one reverse pass, ``J v`` one forward pass, and
``K u`` both: memory stays that of a backward pass, whatever ``n`` and ``P``.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ntk_prune.coordinates import Wrt, chosen
from ntk_prune.linalg import LinearMap, SymmetricOperator
from ntk_prune.ntk import inputs
from ntk_prune.ntk.functions import (
    Function,
    call,
    check_params,
    check_state,
    check_uncoupled,
    masked,
    split,
)
from ntk_prune.ntk.identity import keyed
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.types import Array, Mask, Model, Params, State


@dataclasses.dataclass(frozen=True)
class NTKOperator(SymmetricOperator):
    """``K [nC, nC]`` and its factors as functions of flat vectors.

    Attributes:
        jvp: ``v [P] -> J v [nC]``.
        vjp: ``u [nC] -> J^T u [P]``; zero at pruned coordinates.
        num_parameters: ``P``, pruned coordinates included.
    """

    jvp: LinearMap
    vjp: LinearMap
    num_parameters: int


def ntk_operator(
    f: Function,
    params: Params,
    x: Inputs,
    *,
    state: State = None,
    mask: Mask | None = None,
    wrt: Wrt = "all",
    chunk: int | None = None,
) -> NTKOperator:
    """The kernel of ``f`` on ``x [n, ...]`` as an operator; arguments as for ``empirical_ntk``.

    Args:
        f: ``f(params, x [B, ...]) -> [B, ...]``, or a ``Model`` with its ``state``.
        params: The parameters.
        x: Inputs, an array or a tree of arrays.
        state: The state of a ``Model``.
        mask: Which coordinates survive.
        wrt: Which leaves, as for ``empirical_ntk``.
        chunk: Examples of a pass; None for all at once.

    Its products raise ValueError for a vector of another length.

    >>> w = {"kernel": jnp.eye(2)}
    >>> x = jnp.array([[3.0, 4.0]])
    >>> ntk_operator(lambda p, x: x @ p["kernel"], w, x).matvec(jnp.array([1.0, 2.0])).tolist()
    [25.0, 50.0]
    """
    check_state(f, state)
    check_params(f, params)
    params = masked(params, mask)
    f = f if isinstance(f, Model) else keyed(f)
    check_uncoupled(f, params, x)
    flags = chosen(params, wrt)
    kept = None if mask is None else split(flags, mask)[0]
    passes = _Passes(f, flags, params, state, kept)
    number = inputs.count(x)
    logits = jax.eval_shape(functools.partial(call, f), params, state, x)
    outputs, size = logits.shape[1], sum(leaf.size for leaf in split(flags, params)[0])
    step = chunk or number
    parts = [inputs.take(x, slice(i, i + step)) for i in range(0, number, step)]

    def vjp(u: Array) -> Array:
        _check_vector("u", u, logits.size)
        pieces, start = [], 0
        for part in parts:
            stop = start + inputs.count(part) * outputs
            pieces.append(_pull(*passes, part, u[start:stop]))
            start = stop
        return sum(pieces[1:], start=pieces[0])

    def jvp(v: Array) -> Array:
        _check_vector("v", v, size)
        return jnp.concatenate([_push(*passes, part, v) for part in parts])

    def matvec(u: Array) -> Array:
        _check_vector("u", u, logits.size)
        return _product(*passes, x, u) if len(parts) == 1 else jvp(vjp(u))

    return NTKOperator(matvec, logits.size, logits.dtype, jvp, vjp, size)


def _check_vector(name: str, vector: Array, size: int) -> None:
    """Raise ValueError unless the vector is ``[size]``."""
    if jnp.shape(vector) != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {jnp.shape(vector)}")


class _Passes(NamedTuple):
    """The arguments that all passes share."""

    f: Function
    flags: tuple[bool, ...]
    params: Params
    state: State
    kept: list[Array] | None


def _function(f: Function, flags, params: Params, state: State, kept, x: Array):
    """The masked leaves, and the flat logits as a function of them."""
    theta, merge = split(flags, params)

    def logits(values: list[Array]) -> Array:
        if kept is not None:
            values = [v * m.astype(v.dtype) for v, m in zip(values, kept, strict=True)]
        return call(f, merge(values), state, x).ravel()

    return theta, logits


@functools.partial(jax.jit, static_argnames=("f", "flags"))
def _pull(f: Function, flags, params, state, kept, x, u: Array) -> Array:
    theta, logits = _function(f, flags, params, state, kept, x)
    value, vjp = jax.vjp(logits, theta)
    return jnp.concatenate([g.ravel() for g in vjp(u.astype(value.dtype))[0]])


@functools.partial(jax.jit, static_argnames=("f", "flags"))
def _push(f: Function, flags, params, state, kept, x, v: Array) -> Array:
    theta, logits = _function(f, flags, params, state, kept, x)
    tangents, start = [], 0
    for leaf in theta:
        piece = v[start : start + leaf.size]
        tangents.append(piece.reshape(leaf.shape).astype(leaf.dtype))
        start += leaf.size
    return jax.jvp(logits, (theta,), (tangents,))[1]


@functools.partial(jax.jit, static_argnames=("f", "flags"))
def _product(f: Function, flags, params, state, kept, x, u: Array) -> Array:
    theta, logits = _function(f, flags, params, state, kept, x)
    value, jvp = jax.linearize(logits, theta)
    gradient = jax.linear_transpose(jvp, theta)(u.astype(value.dtype))[0]
    return jvp(gradient)
