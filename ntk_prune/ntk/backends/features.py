"""Features of each example, whose products are the kernel: of ``layerwise`` and of ``jacobian``.

A layer enters either by its Jacobian or by its inputs and output gradients, as its plan says.
"""

import contextlib
import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.conv_patches import Window
from ntk_prune.ntk.backends.backward import backward, layer_inputs
from ntk_prune.ntk.backends.batching import Engine
from ntk_prune.ntk.backends.cost import Budget, feature_cost
from ntk_prune.ntk.backends.plan import Plan
from ntk_prune.ntk.jacobian import compact
from ntk_prune.ntk.problem import KernelProblem
from ntk_prune.types import Array, Params, State


class Features(NamedTuple):
    """Everything the kernel needs of a chunk of ``c`` examples.

    ``jacobians``: arrays ``[c, m, p]``; ``factors``: pairs of inputs ``[c, S, F]`` and output
    gradients ``[c, m, S, O]``.
    """

    jacobians: list[Array]
    factors: list[tuple[Array, Array]]


def feature_engine(name: str, problem: KernelProblem, budget: Budget, plan: Plan) -> Engine:
    """The backend ``name``: features of each chunk once, and products of features."""
    cost = feature_cost(name, plan, problem.dtype.itemsize, budget)
    wide = budget.dtype == np.float64

    def features_of(variables, x):
        params, state = variables
        return features(plan, params, state, x)

    def product_of(_, left, right):
        with jax.enable_x64(True) if wide else contextlib.nullcontext():
            return product(left, right, trace=plan.outputs == "trace", dtype=budget.dtype.name)

    return Engine(plan, cost, features_of, None, product_of, budget.dtype)


def features(plan: Plan, params: Params, state: State, x: Array) -> Features:
    """The features of a chunk ``x [c, ...]``; ``params`` are masked already."""
    differentiated = (plan.f, plan.flags, plan.outputs, plan.tapped)
    inputs, grads, others = backward(*differentiated, params, state, x)
    jacobians, factors = [], []
    for layer in plan.layers:
        a, dy = inputs.pop(0), grads.pop(0)  # popped, so that each is freed when it has been used
        if layer.factored:
            factors.append((layer_inputs(layer.layer.window, a), dy))
        else:
            jacobians.append(_weight_jacobian(layer.layer.window, a, dy, layer.kept))
    small = [compact(j, kept) for j, (_, kept) in zip(others, plan.others, strict=True)]
    if any(layer.kept is not None for layer in plan.layers):
        small, jacobians = small + jacobians, []  # compacted parts make one product
    if small:
        jacobians.append(jnp.concatenate(small, axis=-1))
    return Features(jacobians, factors)


@functools.partial(jax.jit, static_argnames="window")
def _weight_jacobian(window: Window | None, a: Array, dy: Array, kept: Array | None) -> Array:
    """``J[c, m, (o, f)] = sum_s dy[c, m, s, o] a[c, s, f]``, only the ``kept`` coordinates."""
    full = jnp.einsum("cmso,csf->cmof", dy, layer_inputs(window, a))
    full = full.reshape(*full.shape[:2], -1)
    return full if kept is None else jnp.take(full, kept, axis=-1)


@functools.partial(jax.jit, static_argnames=("trace", "dtype"))
def product(left: Features, right: Features, *, trace: bool, dtype) -> Array:
    """A block of the kernel in ``dtype``: ``[c, m, d, m]``, or ``[c, d]`` summed over outputs."""
    left, right = (jax.tree.map(lambda a: a.astype(dtype), side) for side in (left, right))
    contract = _gram_traced if trace else _gram
    terms = [contract(a, b) for a, b in zip(left.jacobians, right.jacobians, strict=True)]
    for (a, dy), (b, dz) in zip(left.factors, right.factors, strict=True):
        inputs = jnp.einsum("csf,dtf->csdt", a, b)
        if trace:
            terms.append(jnp.sum(inputs * jnp.einsum("cmso,dmto->csdt", dy, dz), axis=(1, 3)))
        else:
            gradients = jnp.einsum("cmso,dnto->cmsdnt", dy, dz)
            terms.append(jnp.einsum("csdt,cmsdnt->cmdn", inputs, gradients))
    return sum(terms[1:], start=terms[0])


def _gram(a: Array, b: Array) -> Array:
    """``[c, m, p], [d, n, p] -> [c, m, d, n]``, as one matrix product: no transposed copies."""
    rows, columns = (side.reshape(math.prod(side.shape[:2]), side.shape[-1]) for side in (a, b))
    matrix = rows @ columns.T
    return matrix.reshape(*a.shape[:2], *b.shape[:2])


def _gram_traced(a: Array, b: Array) -> Array:
    """``[c, m, p], [d, m, p] -> [c, d]``."""
    rows, columns = (side.reshape(len(side), math.prod(side.shape[1:])) for side in (a, b))
    return rows @ columns.T
