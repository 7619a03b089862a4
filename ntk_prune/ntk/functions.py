"""The functions whose kernels are taken, and how their outputs are combined."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.ntk import inputs
from ntk_prune.ntk.identity import Keyed, keyed
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.types import Array, Mask, Model, Params, State

Function = Callable[[Params, Inputs], Any] | Model

Outputs = str | int | Array
"""Which kernel: ``"full"``, ``"trace"``, ``"sum"``, ``"class:k"`` or the index ``k``, or a matrix
``[C, k]``, the full kernel of ``k`` combinations of the outputs."""


def outputs_of(f: Function, params: Params, state: State, x: Inputs) -> Any:
    """What a plain function returns, or a ``Model`` under running statistics."""
    if isinstance(f, Model):
        return f.apply(params, state, x, train=False)[0]
    return f(params, x)


def call(f: Function, params: Params, state: State, x: Inputs) -> Array:
    """The outputs as ``[B, C]``: those of an example in one row, several arrays one after another.

    Raises ValueError for an output without examples in its first axis, or without numbers.
    """
    number = inputs.count(x)
    rows = []
    for leaf in jax.tree.leaves(outputs_of(f, params, state, x)):
        if jnp.shape(leaf)[:1] != (number,) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise ValueError(
                f"f must return arrays of numbers [B, ...] for x [B, ...], got {leaf.dtype} "
                f"{jnp.shape(leaf)} for B = {number}"
            )
        rows.append(leaf.reshape(number, -1))
    if not rows:
        raise ValueError("f returns no array")
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows, axis=1)


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


def check_uncoupled(f: Function, params: Params, x: Inputs) -> None:
    """Raise ValueError if an example's output of a plain ``f`` depends on the rest of its batch.

    Two examples are compared together, in both orders, and alone. Traced parameters or inputs
    have no values to compare: they are not checked.
    """
    if isinstance(f, Model):
        return
    with contextlib.suppress(jax.errors.TracerArrayConversionError):
        _compare_orders(keyed(f), params, x)


def _compare_orders(f: Keyed, params: Params, x: Inputs) -> None:
    examples = jax.tree.map(jnp.asarray, inputs.take(x, slice(1))), inputs.another(x)
    run = jax.jit(functools.partial(call, f))
    alone = [np.asarray(run(params, None, example)[0], np.float64) for example in examples]
    for order in ((0, 1), (1, 0)):
        pair = jax.tree.map(lambda *a: jnp.concatenate(a), *(examples[i] for i in order))
        for output, i in zip(np.asarray(run(params, None, pair), np.float64), order, strict=True):
            scale = np.abs(alone[i]).max(initial=0.0)
            change = np.abs(output - alone[i]).max(initial=0.0)
            if np.isfinite(scale) and change > 1e-3 * (scale + 1e-12):
                raise ValueError(
                    "the output for an example changes with the other examples of its batch (batch "
                    "norm in batch-statistics mode, dropout?): its kernel is not defined; use "
                    "running statistics, or the deterministic mode"
                )


def masked(params: Params, mask: Mask | None) -> Params:
    """``params * mask`` with the mask checked; the parameters themselves without one."""
    if mask is None:
        return params
    masks.check(params, mask)
    return masks.apply(params, mask)


def named(f: Function, outputs: Outputs) -> tuple[Function, str]:
    """A function and the name of a convention that stand for ``f`` and ``outputs``.

    A matrix ``[C, k]`` stands for the full kernel of ``f(params, x) @ matrix``. Raises ValueError
    for what is neither a name, an index nor a matrix of finite real numbers.
    """
    if isinstance(outputs, str):
        return f, outputs
    matrix = np.asarray(outputs)
    if matrix.ndim == 0 and np.issubdtype(matrix.dtype, np.integer):
        return f, f"class:{int(matrix)}"
    real = matrix.dtype.kind in "iuf"
    if matrix.ndim != 2 or not (matrix.size and real and np.isfinite(matrix).all()):
        raise ValueError(
            "outputs must be a name, an index or a matrix [C, k] of finite numbers with at least "
            f"one column, got {matrix.dtype} {matrix.shape}"
        )
    if isinstance(f, Model):
        return Model(f.init, keyed(functools.partial(_apply_projected, f, matrix))), "full"
    return keyed(functools.partial(_call_projected, f, matrix)), "full"


def _apply_projected(model: Model, matrix: np.ndarray, params, state, x, **options: Any):
    logits, state = model.apply(params, state, x, **options)
    return _project(logits.reshape(len(logits), -1), matrix), state


def _call_projected(f: Function, matrix: np.ndarray, params: Params, x: Inputs) -> Array:
    return _project(call(f, params, None, x), matrix)


def _project(logits: Array, matrix: np.ndarray) -> Array:
    if logits.shape[1] != len(matrix):
        raise ValueError(
            f"outputs: a projection of {logits.shape[1]} outputs is [{logits.shape[1]}, k], got "
            f"{matrix.shape}"
        )
    return logits @ jnp.asarray(matrix, logits.dtype)


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
