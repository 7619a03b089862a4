"""The trace kernel from a few random combinations of the outputs, with its standard error."""

import math
from typing import Any

import jax
import numpy as np

from ntk_prune.linalg import VectorEstimate, array_mean
from ntk_prune.ntk.empirical import empirical_ntk
from ntk_prune.ntk.functions import Function
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.ntk.problem import KernelProblem
from ntk_prune.types import Key, Params


def projected_ntk(
    key: Key,
    f: Function,
    params: Params,
    x1: Inputs,
    x2: Inputs | None = None,
    *,
    num_projections: int,
    **options: Any,
) -> VectorEstimate:
    """``sum_k K[i, j, k, k]``, estimated by ``v^T K[i, j] v`` with random signs ``v [C]``.

    ``E v^T K[i, j] v`` is the trace kernel exactly (Hutchinson, 1990), and a single projection is,
    up to the factor ``C``, the pseudo-NTK of Mohamadi, Bae and Sutherland (arXiv 2206.12543). An
    example takes ``num_projections`` backward passes instead of ``C``, but all pairs of projections
    are contracted.

    Args:
        key: Draws the signs.
        f: As for ``empirical_ntk``.
        params: The parameters.
        x1: Inputs.
        x2: Other inputs; None for ``x1`` itself.
        num_projections: At least 2.
        options: The other keyword arguments of ``empirical_ntk``, but for ``outputs``.

    Returns:
        ``value [n1, n2]`` with the standard errors over the projections. Entries share the signs.

    Raises:
        ValueError: for fewer than 2 projections, and as ``empirical_ntk`` does.
    """
    if num_projections < 2:
        raise ValueError(f"a standard error needs at least 2 projections, got {num_projections}")
    size = math.prod(KernelProblem(f, params, x1, state=options.get("state")).output_shape)
    signs = np.asarray(jax.random.rademacher(key, (size, num_projections), np.int32))
    kernel = empirical_ntk(f, params, x1, x2, outputs=signs, **options)
    return array_mean(np.moveaxis(np.diagonal(kernel, axis1=2, axis2=3), -1, 0))
