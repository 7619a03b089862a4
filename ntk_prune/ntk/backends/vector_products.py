"""Kernel columns by Jacobian-vector products: no product of Jacobians, little memory.

Column ``(j, l)`` of the kernel is ``J1 (mask * J2[j, l]^T)``: reverse mode for the Jacobian of
one example, forward mode through all others. It costs ``n1 n2 C`` forward passes, so it pays only
for networks whose forward pass is cheaper than ``C`` products over the weights.
"""

import functools

import jax
import jax.numpy as jnp

from ntk_prune.coordinates import chosen
from ntk_prune.ntk.backends.batching import Engine, inputs_alone
from ntk_prune.ntk.backends.cost import Budget, Cost
from ntk_prune.ntk.backends.plan import Plan, make_plan
from ntk_prune.ntk.functions import Function, call, cotangents, split
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.ntk.jacobian import leaf_jacobians
from ntk_prune.ntk.problem import KernelProblem
from ntk_prune.types import Array, Params, State


def engine(problem: KernelProblem, budget: Budget) -> Engine:
    """The engine of this backend; MemoryError when not even one example fits, NotImplementedError
    for a function without forward mode."""
    _check_forward(problem)
    plan = make_plan(problem, tapped=False)
    cost = _cost(plan, problem.params, problem.dtype.itemsize, budget)
    differentiated = (plan.f, plan.flags, plan.outputs)
    kept = None
    if problem.mask is not None:
        kept = split(plan.flags, problem.mask)[0]

    def jacobians(variables, x):
        parts = leaf_jacobians(*differentiated, *variables, x)
        if kept is None:
            return parts
        return [p * jnp.expand_dims(m, (0, 1)) for p, m in zip(parts, kept, strict=True)]

    def product(variables, x, column):
        block = _block(*differentiated, *variables, x, column)
        return jnp.einsum("cmdm->cd", block) if plan.outputs == "trace" else block

    return Engine(plan, cost, inputs_alone, jacobians, product, budget.dtype)


def _check_forward(problem: KernelProblem) -> None:
    """Raise NotImplementedError for a function with rules for reverse mode alone."""
    flags = chosen(problem.params, problem.wrt)
    variables, structure = jax.tree.flatten((problem.params, problem.state, problem.example))
    shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in variables)
    if not _goes_forward(problem.f, flags, structure, shapes):
        raise NotImplementedError(
            "vector_products differentiates forwards, which a custom_vjp function in f does not "
            "allow: take layerwise or jacobian"
        )


@functools.lru_cache(maxsize=64)
def _goes_forward(f: Function, flags, structure, shapes) -> bool:
    """Whether ``f`` has a derivative in forward mode, by tracing it."""

    def pushed(params: Params, state: State, x: Inputs) -> Array:
        theta, merge = split(flags, params)
        push = jax.linearize(lambda values: call(f, merge(values), state, x), theta)[1]
        return jax.vmap(push)([v[None] for v in theta])

    try:
        jax.eval_shape(pushed, *structure.unflatten(shapes))
    except TypeError as error:
        if "custom_vjp" in str(error):
            return False
        raise
    return True


@functools.partial(jax.jit, static_argnames=("f", "flags", "outputs"))
def _block(f: Function, flags, outputs: str, params: Params, state: State, x, column):
    """``[c, m, d, m]`` from row inputs ``x [c, ...]`` and column Jacobians ``[d, m, *leaf]``."""
    theta, merge = split(flags, params)
    logits, jvp = jax.linearize(lambda values: call(f, merge(values), state, x), theta)
    combined = cotangents(outputs, logits.shape[1], logits.dtype)
    pushed = jax.vmap(jax.vmap(jvp))(column)  # [d, m, c, C]
    return jnp.einsum("mk,dnck->cmdn", combined, pushed)


def _cost(plan: Plan, params: Params, width: int, budget: Budget) -> Cost:
    """The counted cost; Jacobians of one chunk, and tangents of a forward pass for each."""
    m, forward = plan.sizes.num_cotangents, plan.sizes.forward_flops
    weights = sum(leaf.size for leaf in split(plan.flags, params)[0])
    kernel = budget.kernel_bytes(plan)
    need = width * 2 * m * (weights + plan.sizes.widest)
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
