"""The functions whose kernels are taken, and how their outputs are combined."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.types import Array, Mask, Model, Params, State

Function = Callable[[Params, Array], Array] | Model


def call(f: Function, params: Params, state: State, x: Array) -> Array:
    """The logits ``[B, C]`` of a plain function, or of a ``Model`` under running statistics."""
    if isinstance(f, Model):
        return f.apply(params, state, x, train=False)[0]
    return f(params, x)


def check_state(f: Function, state: State) -> None:
    """Raise ValueError for a ``Model`` without its state, or a plain function with one."""
    if isinstance(f, Model) and state is None:
        raise ValueError("the kernel of a Model needs its `state` ({} where it has none)")
    if not isinstance(f, Model) and state is not None:
        raise ValueError("`state` belongs to a Model; bind it into the function f(params, x)")


def check_params(f: Function, params: Params) -> None:
    """Raise ValueError for the variables of a linen module that are not parameters alone: running
    statistics and other collections are not differentiated."""
    if isinstance(f, Model) or not isinstance(params, Mapping) or "params" not in params:
        return
    others = sorted(str(name) for name in params if name != "params")
    if others:
        raise ValueError(
            f"these are variables with the collections params, {', '.join(others)}: take the "
            "kernel in variables['params'] and bind the others into f, as in "
            "lambda p, x: module.apply({**variables, 'params': p}, x)"
        )


def check_uncoupled(f: Function, params: Params, x: Array) -> None:
    """Raise ValueError if an example's output of a plain ``f`` depends on the rest of its batch.

    Two examples are compared together, in both orders, and alone. Traced parameters or inputs
    have no values to compare: they are not checked.
    """
    if isinstance(f, Model):
        return
    with contextlib.suppress(jax.errors.TracerArrayConversionError):
        _compare_orders(f, params, x)


def _compare_orders(f: Callable[[Params, Array], Array], params: Params, x: Array) -> None:
    first, second = jnp.asarray(x[:1]), _another(x)
    run = jax.jit(f)
    alone = [np.asarray(run(params, example)[0], np.float64) for example in (first, second)]
    for order in ((0, 1), (1, 0)):
        pair = jnp.concatenate([(first, second)[i] for i in order])
        for output, i in zip(np.asarray(run(params, pair), np.float64), order, strict=True):
            scale = np.abs(alone[i]).max(initial=0.0)
            change = np.abs(output - alone[i]).max(initial=0.0)
            if np.isfinite(scale) and change > 1e-3 * (scale + 1e-12):
                raise ValueError(
                    "the output for an example changes with the other examples of its batch (batch "
                    "norm in batch-statistics mode, dropout?): its kernel is not defined; use "
                    "running statistics, or the deterministic mode"
                )


def _another(x: Array) -> Array:
    """An example that differs from the first: the next such one, or else one made from it."""
    first = np.asarray(x[:1])
    for i in range(1, min(len(x), 8)):
        if (np.asarray(x[i : i + 1]) != first).any():
            return jnp.asarray(x[i : i + 1])
    if jnp.issubdtype(first.dtype, jnp.floating):
        return jnp.asarray(1 - first)
    return jnp.asarray(first.reshape(1, -1)[:, ::-1].reshape(first.shape))


def masked(params: Params, mask: Mask | None) -> Params:
    """``params * mask`` with the mask checked; the parameters themselves without one."""
    if mask is None:
        return params
    masks.check(params, mask)
    return masks.apply(params, mask)


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
    """The vectors ``[m, C]`` by which the outputs are combined before differentiating."""
    word, k = parse_outputs(outputs, num_outputs)
    if word == "sum":
        return jnp.ones((1, num_outputs), dtype)
    units = jnp.eye(num_outputs, dtype=dtype)
    return units if k is None else units[k : k + 1]


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
