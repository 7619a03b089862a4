"""The empirical kernel by neural-tangents, to check this package against."""

from typing import Any

import jax
import numpy as np

from ntk_prune import masks
from ntk_prune.ntk.jacobian import Function, call, chosen, parse_outputs, split
from ntk_prune.types import Array, Mask, Params, State

IMPLEMENTATIONS = ("JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS", "STRUCTURED_DERIVATIVES")


def empirical(
    f: Function,
    params: Params,
    x1: Array,
    x2: Array | None = None,
    *,
    state: State = None,
    mask: Mask | None = None,
    outputs: str = "full",
    wrt: str = "all",
    implementation: str = IMPLEMENTATIONS[2],
) -> np.ndarray:
    """The kernel of ``empirical_ntk``, from the full one of Novak et al. (arXiv 2206.08720).

    The mask is part of the function here, so all coordinates are contracted whatever the density.
    """
    theta, kernel_fn = kernel_function(
        f, params, state=state, mask=mask, wrt=wrt, implementation=implementation
    )
    return reduce_outputs(np.asarray(jax.jit(kernel_fn)(x1, x2, theta)), outputs)


def kernel_function(
    f: Function, params: Params, *, state: State, mask: Mask | None, wrt: str, implementation: str
) -> tuple[Any, Any]:
    """The differentiated leaves and neural-tangents' ``kernel_fn(x1, x2, leaves)``."""
    from ntk_prune.ntk import neural_tangents

    nt: Any = neural_tangents.load()
    theta, merge = split(chosen(params, wrt), params)

    def function(values: list[Array], x: Array) -> Array:
        weights = merge(values)
        return call(f, weights if mask is None else masks.apply(weights, mask), state, x)

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
