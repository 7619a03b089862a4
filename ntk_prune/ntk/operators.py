"""The kernel without the kernel: products of ``K`` and ``J`` with vectors.

``J [nC, P]`` is the Jacobian of all logits ``f(params * mask, x) [n, C]``, flattened row-major, in
the chosen leaves, and ``K = J J^T``. ``J^T u`` is one reverse pass, ``J v`` one forward pass, and
``K u`` both: memory stays that of a backward pass, whatever ``n`` and ``P``.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, overload

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
    """``K [nC, nC]`` and its factors as functions of vectors.

    ``u`` is flat ``[nC]`` or, like the outputs, ``[n, C]``; a matrix ``[nC, k]`` is ``k`` vectors,
    its columns, whose passes run together. ``v`` is ``[P]`` or ``[P, k]``.

    Attributes:
        matvec: ``u -> K u``, in the layout of ``u``.
        jvp: ``v -> J v``, flat: ``[nC]`` or ``[nC, k]``.
        vjp: ``u -> J^T u``, ``[P]`` or ``[P, k]``; zero at pruned coordinates.
        num_parameters: ``P``, pruned coordinates included.
    """

    jvp: LinearMap
    vjp: LinearMap
    num_parameters: int


@dataclasses.dataclass(frozen=True)
class CrossNTKOperator:
    """``K(x1, x2) [n1 C, n2 C]`` as a function of vectors, in the layouts of ``NTKOperator``.

    Attributes:
        matvec: ``u -> K(x1, x2) u``.
        rmatvec: ``u -> K(x1, x2)^T u``, which is ``K(x2, x1) u``.
        shape: ``(n1 C, n2 C)``.
        dtype: Of the vectors.
    """

    matvec: LinearMap
    rmatvec: LinearMap
    shape: tuple[int, int]
    dtype: Any


@overload
def ntk_operator(
    f: Function,
    params: Params,
    x: Inputs,
    x2: None = None,
    *,
    state: State = ...,
    mask: Mask | None = ...,
    wrt: Wrt = ...,
    chunk: int | None = ...,
) -> NTKOperator: ...


@overload
def ntk_operator(
    f: Function,
    params: Params,
    x: Inputs,
    x2: Inputs,
    *,
    state: State = ...,
    mask: Mask | None = ...,
    wrt: Wrt = ...,
    chunk: int | None = ...,
) -> CrossNTKOperator: ...


def ntk_operator(
    f: Function,
    params: Params,
    x: Inputs,
    x2: Inputs | None = None,
    *,
    state: State = None,
    mask: Mask | None = None,
    wrt: Wrt = "all",
    chunk: int | None = None,
) -> NTKOperator | CrossNTKOperator:
    """The kernel of ``f`` on ``x [n, ...]`` as an operator; arguments as for ``empirical_ntk``.

    Args:
        f: ``f(params, x [B, ...]) -> [B, ...]``, or a ``Model`` with its ``state``.
        params: The parameters.
        x: Inputs, an array or a tree of arrays.
        x2: Other inputs, for the rectangular operator ``K(x, x2)``; None for ``x`` itself.
        state: The state of a ``Model``.
        mask: Which coordinates survive.
        wrt: Which leaves, as for ``empirical_ntk``.
        chunk: Examples of a pass; None for all at once.

    Its products raise ValueError for a vector of another length.

    >>> w = {"kernel": jnp.eye(2)}
    >>> x = jnp.array([[3.0, 4.0]])
    >>> operator = ntk_operator(lambda p, x: x @ p["kernel"], w, x)
    >>> operator.matvec(jnp.array([1.0, 2.0])).tolist(), operator.shape
    ([25.0, 50.0], (2, 2))
    """
    check_state(f, state)
    check_params(f, params)
    params, state, mask, x, x2 = inputs.gathered((params, state, mask, x, x2))
    params = masked(params, mask)
    f = f if isinstance(f, Model) else keyed(f)
    flags = chosen(params, wrt)
    kept = None if mask is None else split(flags, mask)[0]
    passes = _Passes(f, flags, params, state, kept)
    check_uncoupled(f, params, x)
    first = _factors(passes, x, chunk)
    if x2 is None:
        return first
    inputs.check_alike(x, x2)
    second = _factors(passes, x2, chunk)
    rows, columns = ((inputs.count(a), b.size) for a, b in ((x, first), (x2, second)))
    return CrossNTKOperator(
        _of_outputs(columns, rows, lambda u: first.jvp(second.vjp(u))),
        _of_outputs(rows, columns, lambda u: second.jvp(first.vjp(u))),
        (first.size, second.size),
        first.dtype,
    )


def _factors(passes: "_Passes", x: Inputs, chunk: int | None) -> NTKOperator:
    """The operator of one set of inputs."""
    number = inputs.count(x)
    logits = jax.eval_shape(functools.partial(call, passes.f), passes.params, passes.state, x)
    outputs = logits.shape[1]
    size = sum(leaf.size for leaf in split(passes.flags, passes.params)[0])
    step = chunk or number
    parts = [inputs.take(x, slice(i, i + step)) for i in range(0, number, step)]

    def vjp(u: Array) -> Array:
        pieces, start = [], 0
        for part in parts:
            stop = start + inputs.count(part) * outputs
            pieces.append(_pull(*passes, part, u[start:stop]))
            start = stop
        return sum(pieces[1:], start=pieces[0])

    def jvp(v: Array) -> Array:
        return jnp.concatenate([_push(*passes, part, v) for part in parts])

    def matvec(u: Array) -> Array:
        return _product(*passes, x, u) if len(parts) == 1 else jvp(vjp(u))

    of_outputs, of_parameters = (number, logits.size), (None, size)
    return NTKOperator(
        _of_outputs(of_outputs, of_outputs, matvec),
        logits.size,
        logits.dtype,
        _of_columns("v", of_parameters, jvp),
        _of_columns("u", of_outputs, vjp),
        size,
    )


def _of_outputs(domain: tuple[int, int], image: tuple[int, int], product: LinearMap) -> LinearMap:
    """``product`` between vectors of outputs, whose layout ``[n, C]`` it keeps."""
    flat = _of_columns("u", domain, product)

    def apply(u: Array) -> Array:
        number, size = domain
        like_outputs = jnp.shape(u) == (number, size // number)
        return flat(u).reshape(image[0], -1) if like_outputs else flat(u)

    return apply


def _of_columns(name: str, domain: tuple[int | None, int], product: LinearMap) -> LinearMap:
    """``product`` of one flat vector, of ``[n, C]``, or of every column of ``[size, k]``, which
    ``[n, 1]`` of a single output is.

    The result raises ValueError for another shape. ``domain``: ``n``, or None, and ``size``.
    """
    number, size = domain

    def apply(vectors: Array) -> Array:
        shape = jnp.shape(vectors)
        if len(shape) == 2 and shape[0] == size:
            return jax.vmap(product, in_axes=1, out_axes=1)(jnp.asarray(vectors))
        if shape == (size,) or (number and shape == (number, size // number)):
            return product(jnp.ravel(vectors))
        also = f", ({number}, {size // number})" if number else ""
        raise ValueError(f"{name} must have shape ({size},){also} or ({size}, k), got {shape}")

    return apply


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
