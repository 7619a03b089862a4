"""The empirical kernel by neural-tangents, to check this package against."""

from typing import Any

import jax
import numpy as np

from ntk_prune import masks
from ntk_prune.coordinates import chosen
from ntk_prune.ntk.jacobian import call, parse_outputs, split
from ntk_prune.ntk.problem import Problem
from ntk_prune.types import Array


def empirical(problem: Problem) -> np.ndarray:
    """The kernel of ``empirical_ntk``, from the full one of Novak et al. (arXiv 2206.08720).

    The mask is part of the function here, so all coordinates are contracted whatever the density.
    """
    theta, kernel_fn = kernel_function(problem, "STRUCTURED_DERIVATIVES")
    full = jax.jit(kernel_fn)(problem.x1, problem.x2, theta)
    return reduce_outputs(np.asarray(full), problem.outputs)


def kernel_function(problem: Problem, implementation: str) -> tuple[Any, Any]:
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

    how = {
        "trace_axes": (),
        "vmap_axes": 0,
        "implementation": nt.NtkImplementation[implementation],
    }
    return theta, nt.empirical_ntk_fn(function, **how)


def reduce_outputs(full: np.ndarray, outputs: str) -> np.ndarray:
    """Any convention from the full kernel ``[n1, n2, C, C]``.

    >>> reduce_outputs(np.arange(4.0).reshape(1, 1, 2, 2), "sum").tolist()
    [[6.0]]
    """
    word, k = parse_outputs(outputs, full.shape[-1])
    if word == "trace":
        return np.einsum("ijkk->ij", full)
    if word == "sum":
        return full.sum((2, 3))
    return full if k is None else full[:, :, k, k]
