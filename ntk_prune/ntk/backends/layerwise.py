"""Layer inputs times output gradients, never a weight gradient where that is cheaper."""

from ntk_prune.ntk.backends.batching import Engine
from ntk_prune.ntk.backends.cost import Budget
from ntk_prune.ntk.backends.features import feature_engine
from ntk_prune.ntk.backends.plan import make_plan
from ntk_prune.ntk.problem import KernelProblem


def engine(problem: KernelProblem, budget: Budget) -> Engine:
    """The engine of this backend; MemoryError when not even one example fits."""
    return feature_engine("layerwise", problem, budget, make_plan(problem, tapped=True))
