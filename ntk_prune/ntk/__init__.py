"""The neural tangent kernel of any function, masked or not: exact, as an operator, in its limit.

=====================  ============================================================================
empirical_ntk          the exact kernel between two sets of inputs
estimate_cost          what that will cost, without running it
ntk_operator           products with ``K``, ``J`` and ``J^T``, for ``ntk_prune.linalg``
jacobian               the Jacobian over the surviving coordinates
squared_gradients      a diagonal of ``J^T J``
linearised             the network linearised at its parameters
gradient_flow          its training in closed form
infinite_width         analytic kernels of MLPs and CNNs, and the closed form for ReLU (module)
random_pruning         the limit of randomly pruned networks (module)
concentration          how close finite networks come to a limit (module)
diagnostics            eigenvalues, condition, rank, alignment, distance of dense kernels (module)
=====================  ============================================================================

The ways to compute a kernel are in ``backends``; ``neural_tangents.load()`` is that library on
current JAX. Importing this package imports neither it nor anything else that is heavy.
"""

from ntk_prune.ntk import concentration, diagnostics, infinite_width, random_pruning
from ntk_prune.ntk.backends.cost import Cost
from ntk_prune.ntk.empirical import empirical_ntk, estimate_cost
from ntk_prune.ntk.functions import Function
from ntk_prune.ntk.jacobian import jacobian
from ntk_prune.ntk.linearised import GradientFlow, gradient_flow, linearised
from ntk_prune.ntk.operators import NTKOperator, ntk_operator
from ntk_prune.ntk.squared_gradients import squared_gradients

__all__ = [
    "Cost",
    "Function",
    "GradientFlow",
    "NTKOperator",
    "concentration",
    "diagnostics",
    "empirical_ntk",
    "estimate_cost",
    "gradient_flow",
    "infinite_width",
    "jacobian",
    "linearised",
    "ntk_operator",
    "random_pruning",
    "squared_gradients",
]
