"""Blocks of the kernel by neural-tangents, to check the other backends against.

The mask is part of the function here, so all coordinates are contracted whatever the density.
"""

from typing import Any

import jax

from ntk_prune import masks
from ntk_prune.coordinates import chosen
from ntk_prune.ntk import inputs
from ntk_prune.ntk.backends.batching import Engine, inputs_alone
from ntk_prune.ntk.backends.cost import Budget, Cost
from ntk_prune.ntk.backends.plan import make_plan
from ntk_prune.ntk.functions import call, parse_outputs, split
from ntk_prune.ntk.problem import KernelProblem
from ntk_prune.types import Array


def engine(problem: KernelProblem, budget: Budget) -> Engine:
    """The engine of this backend, by its structured derivatives (Novak et al., arXiv 2206.08720).

    Its cost is what XLA counts for a block; memory is bounded by that of two Jacobians.
    """
    plan = make_plan(problem, tapped=False)
    theta, kernel_fn = kernel_function(problem, "STRUCTURED_DERIVATIVES")
    block = jax.jit(lambda x1, x2: _as_block(kernel_fn(x1, x2, theta), problem.convention))
    weights = sum(leaf.size for leaf in theta)
    kernel = budget.kernel_bytes(plan)
    need = problem.dtype.itemsize * 2 * plan.sizes.num_outputs * (weights + plan.sizes.widest)
    chunk = budget.chunk_for(kernel, need, usual=8)
    shape = inputs.spec(problem.x1, chunk)
    counted = (block.lower(shape, shape).cost_analysis() or {}).get("flops", 0.0)
    cost = Cost(
        backend="neural_tangents",
        chunk=chunk,
        resident=chunk,
        flops_backward=0.0,
        flops_product=budget.pairs(chunk) / chunk**2 * counted,
        bytes_kernel=kernel,
        bytes_features=0,
        bytes_working=chunk * need,
        coordinates=weights,
    )
    return Engine(
        plan, cost, inputs_alone, inputs_alone, lambda _, x1, x2: block(x1, x2), budget.dtype
    )


def _as_block(full: Array, outputs: str) -> Array:
    """``[c, d, C, C]`` combined to ``[c, m, d, m]`` or, for the trace, ``[c, d]``."""
    block = reduce_outputs(full, outputs)
    if outputs == "trace":
        return block
    return block.transpose(0, 2, 1, 3) if outputs == "full" else block[:, None, :, None]


def kernel_function(problem: KernelProblem, implementation: str) -> tuple[Any, Any]:
    """The differentiated leaves and neural-tangents' ``kernel_fn(x1, x2, leaves)``.

    ``implementation``: JACOBIAN_CONTRACTION, NTK_VECTOR_PRODUCTS or STRUCTURED_DERIVATIVES.
    """
    from ntk_prune.ntk import neural_tangents

    nt: Any = neural_tangents.load()
    theta, merge = split(chosen(problem.params, problem.wrt), problem.params)

    def function(values: list[Array], x: Array) -> Array:
        weights = merge(values)
        if problem.mask is not None:
            weights = masks.apply(weights, problem.mask)
        return call(problem.f, weights, problem.state, x)

    options = {
        "trace_axes": (),
        "vmap_axes": 0,
        "implementation": nt.NtkImplementation[implementation],
    }
    return theta, nt.empirical_ntk_fn(function, **options)


def reduce_outputs(full: Any, outputs: str) -> Any:
    """Any convention from the full kernel ``[n1, n2, C, C]``.

    >>> reduce_outputs(jax.numpy.arange(4.0).reshape(1, 1, 2, 2), "sum").tolist()
    [[6.0]]
    """
    word, k = parse_outputs(outputs, full.shape[-1])
    if word == "trace":
        return full.trace(axis1=2, axis2=3)
    if word == "sum":
        return full.sum((2, 3))
    return full if k is None else full[:, :, k, k]
