"""The choice between the backends: by name, or the cheapest by counted operations that fits."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ntk_prune.ntk import inputs
from ntk_prune.ntk.backends import jacobian, layerwise, neural_tangents, vector_products
from ntk_prune.ntk.backends.batching import Engine
from ntk_prune.ntk.backends.cost import Budget, available_memory
from ntk_prune.ntk.problem import KernelProblem

BACKENDS: dict[str, Callable[[KernelProblem, Budget], Engine]] = {
    "layerwise": layerwise.engine,
    "jacobian": jacobian.engine,
    "vector_products": vector_products.engine,
    "neural_tangents": neural_tangents.engine,
}
# What "auto" chooses from; of two that cost the same, the first. neural_tangents contracts pruned
# coordinates too, and is for checks.
AUTO = ("layerwise", "jacobian", "vector_products")
# The backends that can contract in another type than that of the outputs.
WITH_ACCUMULATE = ("layerwise", "jacobian")


def choose(
    problem: KernelProblem,
    backend: str = "auto",
    accumulate: str | None = None,
    chunk: int | None = None,
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
) -> Engine:
    """The engine called ``backend``; for ``"auto"`` the cheapest that fits.

    Raises MemoryError when none fits, ValueError for a ``backend`` or an ``accumulate`` that cannot
    be had.
    """
    if backend not in ("auto", *BACKENDS):
        known = ", ".join(("auto", *BACKENDS))
        raise ValueError(f"backend must be one of {known}, got {backend!r}")
    budget = _budget(problem, accumulate, chunk, memory_limit, devices)
    converts = budget.dtype != problem.dtype
    if backend != "auto":
        if converts and backend not in WITH_ACCUMULATE:
            raise ValueError(f"{backend} computes in the type of the outputs: drop `accumulate`")
        return BACKENDS[backend](problem, budget)
    return _cheapest(problem, budget, WITH_ACCUMULATE if converts else AUTO)


def _cheapest(problem: KernelProblem, budget: Budget, names: Sequence[str]) -> Engine:
    """The engine with the fewest counted operations of those that fit and can be."""
    engines, failures = [], []
    for name in names:
        try:
            engines.append(BACKENDS[name](problem, budget))
        except (MemoryError, NotImplementedError) as error:
            failures.append(error)
    if not engines:
        raise failures[0]
    return min(engines, key=lambda engine: engine.cost.flops)


def allowed_memory(memory_limit: int | None, device: Any) -> int:
    """Bytes to stay under: those that are given, or 80% of what is free now."""
    return int(0.8 * available_memory(device)) if memory_limit is None else memory_limit


def _budget(problem: KernelProblem, accumulate, chunk, memory_limit, devices) -> Budget:
    device = next(iter(devices or jax.local_devices()))
    dtype = np.dtype(accumulate or problem.dtype)
    limit = allowed_memory(memory_limit, device)
    n2 = None if problem.x2 is None else inputs.count(problem.x2)
    return Budget(inputs.count(problem.x1), n2, chunk, limit, dtype, device.platform)
