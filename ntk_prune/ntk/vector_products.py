"""Kernel columns by Jacobian-vector products: no product of Jacobians, little memory.

Column ``(j, l)`` of the kernel is ``J1 (mask * J2[j, l]^T)``: reverse mode for the Jacobian row of
one example, forward mode through all others. It costs ``n1 n2 C`` forward passes, so it pays only
for networks whose forward pass is cheaper than ``C`` products over the weights.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.ntk.batching import Engine
from ntk_prune.ntk.cost import Budget, Cost
from ntk_prune.ntk.jacobian import Function, call, cotangents, leaf_jacobians, split
from ntk_prune.ntk.layerwise import Plan
from ntk_prune.ntk.problem import Problem
from ntk_prune.types import Array, Params, State


def engine(problem: Problem, budget: Budget) -> Engine:
    """The engine of this backend.

    Raises ValueError when another type than that of the inputs is asked for.
    """
    if budget.dtype != np.result_type(problem.x1.dtype, np.float32):
        raise ValueError("vector_products computes in the type of the inputs: drop `accumulate`")
    plan = problem.plan(tapped=False)
    cost = _cost(plan, problem.params, problem.x1.dtype.itemsize, budget)
    how = (plan.f, plan.flags, plan.outputs)
    kept = None
    if problem.mask is not None:
        kept = split(plan.flags, problem.mask)[0]

    def columns(variables, x):
        parts = leaf_jacobians(*how, *variables, x)
        if kept is None:
            return parts
        return [p * jnp.expand_dims(m, (0, 1)) for p, m in zip(parts, kept, strict=True)]

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


def _cost(plan: Plan, params: Params, width: int, budget: Budget) -> Cost:
    """The counted cost; Jacobian rows of one chunk, and tangents of a forward pass for each."""
    m, forward = plan.trace.num_rows, plan.trace.forward_flops
    weights = sum(leaf.size for leaf in split(plan.flags, params)[0])
    kernel = budget.kernel_bytes(plan)
    need = width * 2 * m * (weights + plan.trace.widest)
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
