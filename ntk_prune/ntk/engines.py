"""The ways of computing a kernel, and the choice between them by counted cost."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from ntk_prune.ntk import layerwise, vector_products
from ntk_prune.ntk.batching import Engine
from ntk_prune.ntk.cost import Budget, available_memory, feature_cost
from ntk_prune.ntk.problem import Problem


def choose(
    problem: Problem,
    backend: str = "auto",
    accumulate: str | None = None,
    chunk: int | None = None,
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
) -> Engine:
    """The engine called ``backend``; for ``"auto"`` the one with the fewest counted operations.

    Raises MemoryError when none fits, ValueError for a ``backend`` or an ``accumulate`` that cannot
    be had.
    """
    if backend not in ("auto", *ENGINES):
        known = ", ".join(("auto", *ENGINES))
        raise ValueError(f"backend must be one of {known} or neural_tangents, got {backend!r}")
    device = next(iter(devices or jax.devices()))
    own = np.result_type(problem.x1.dtype, np.float32)
    dtype = np.dtype(accumulate or own)
    limit = int(0.8 * available_memory(device)) if memory_limit is None else memory_limit
    n2 = None if problem.x2 is None else problem.x2.shape[0]
    budget = Budget(problem.x1.shape[0], n2, chunk, limit, dtype, device.platform)
    if backend != "auto":
        return ENGINES[backend](problem, budget)
    engines, failures = [], []
    for make in (_layerwise, vector_products.engine)[: 1 if dtype != own else 2]:
        try:
            engines.append(make(problem, budget))
        except MemoryError as error:
            failures.append(error)
    if not engines:
        raise failures[0]
    return min(engines, key=lambda engine: engine.cost.flops)


def _layerwise(problem: Problem, budget: Budget) -> Engine:
    return _by_features(problem, budget, "layerwise")


def _jacobian(problem: Problem, budget: Budget) -> Engine:
    return _by_features(problem, budget, "jacobian")


ENGINES: dict[str, Callable[[Problem, Budget], Engine]] = {
    "layerwise": _layerwise,
    "jacobian": _jacobian,
    "vector_products": vector_products.engine,
}


def _by_features(problem: Problem, budget: Budget, backend: str) -> Engine:
    """Features of each chunk once, and products of features."""
    plan = problem.plan(tapped=backend == "layerwise")
    cost = feature_cost(plan, problem.x1.dtype.itemsize, budget)
    wide = budget.dtype == np.float64

    def rows(variables, x):
        params, state = variables
        return layerwise.features(plan, params, state, x)

    def product(variables, left, right):
        del variables
        with jax.enable_x64(True) if wide else contextlib.nullcontext():
            return layerwise.product(
                left, right, trace=plan.outputs == "trace", dtype=budget.dtype.name
            )

    return Engine(plan, cost, rows, None, product)
