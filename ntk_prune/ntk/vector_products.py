"""Kernel columns by Jacobian-vector products: no product of Jacobians, little memory.

Column ``(j, l)`` of the kernel is ``J1 (mask * J2[j, l]^T)``: reverse mode for the Jacobian row of
one example, forward mode through all others. It costs ``n1 n2 C`` forward passes, so it pays only
for networks whose forward pass is cheaper than ``C`` products over the weights.
"""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.ntk.blocks import Engine
from ntk_prune.ntk.cost import Budget, Cost, forward_flops
from ntk_prune.ntk.jacobian import Function, call, cotangents, leaf_jacobians, split
from ntk_prune.ntk.layerwise import Plan, make_plan
from ntk_prune.types import Array, Params, State

if TYPE_CHECKING:
    from ntk_prune.ntk.engines import Problem


def engine(problem: "Problem", budget: Budget) -> Engine:
    """The engine of this backend.

    Raises ValueError when another type than that of the inputs is asked for.
    """
    if budget.dtype != np.result_type(problem.x1.dtype, np.float32):
        raise ValueError("vector_products computes in the type of the inputs: drop `accumulate`")
    plan = make_plan(*problem[:5], *problem[6:], tapped=False)
    cost = _cost(plan, problem.params, problem.state, problem.x1, budget)
    how = (plan.f, plan.flags, plan.outputs)
    kept = None
    if problem.mask is not None:
        kept = split(plan.flags, problem.mask)[0]

    def columns(variables, x):
        parts = leaf_jacobians(*how, *variables, x)
        return parts if kept is None else [p * m for p, m in zip(parts, kept, strict=True)]

    def product(variables, x, column):
        block = _block(*how, *variables, x, column)
        return jnp.einsum("cmdm->cd", block) if plan.outputs == "trace" else block

    return Engine(plan, cost, _inputs, columns, product)


def _inputs(_, x: Array) -> Array:
    """The row features of this backend: the inputs themselves."""
    return x


@functools.partial(jax.jit, static_argnames=("f", "flags", "outputs"))
def _block(f: Function, flags, outputs: str, params: Params, state: State, x: Array, column):
    """``[c, m, d, m]`` from inputs ``x [c, ...]`` and Jacobian rows ``[d, m, *leaf]``."""
    theta, merge = split(flags, params)
    logits, jvp = jax.linearize(lambda values: call(f, merge(values), state, x), theta)
    rows = cotangents(outputs, logits.shape[1], logits.dtype)
    pushed = jax.vmap(jax.vmap(jvp))(column)  # [d, m, c, C]
    return jnp.einsum("mk,dnck->cmdn", rows, pushed)


def _cost(plan: Plan, params: Params, state: State, x: Array, budget: Budget) -> Cost:
    """The counted cost; Jacobian rows of one chunk, and tangents of a forward pass for each."""
    width, m = np.dtype(x.dtype).itemsize, plan.num_rows
    weights = sum(leaf.size for leaf in split(plan.flags, params)[0])
    forward = forward_flops(plan, params, state, x)
    kernel = budget.kernel_bytes(plan)
    need = width * 2 * m * (weights + _widest(plan, params, state, x))
    chunk = budget.chunk_for(kernel, need, usual=8)
    return Cost(
        backend="vector_products",
        chunk=chunk,
        resident=chunk,
        flops_backward=(budget.columns + budget.n1) * (1 + 2 * m) * forward,
        flops_product=budget.pairs(chunk) * m * 2 * forward,
        bytes_kernel=kernel,
        bytes_features=0,
        bytes_working=chunk * need,
        coordinates=plan.num_kept,
    )


def _widest(plan: Plan, params: Params, state: State, x: Array) -> int:
    """Elements of the largest activation of one example."""
    one = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    traced = jax.make_jaxpr(functools.partial(call, plan.f))(params, state, one)
    return max(v.aval.size for equation in traced.eqns for v in equation.outvars)
