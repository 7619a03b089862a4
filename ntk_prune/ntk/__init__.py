"""The neural tangent kernel of any function, masked or not: exact, as an operator, in its limit.

=====================  ============================================================================
empirical_ntk          the exact kernel between two sets of inputs
estimate_cost          what that will cost, without running it
traced_ntk             the same as a JAX array: inside ``jit``, vmapped, differentiated
layer_kernels          the kernel split by layers, or other groups of parameters
projected_ntk          the trace kernel from random combinations of the outputs
ntk_operator           products with ``K``, ``J`` and ``J^T``, for ``ntk_prune.linalg``
jacobian               the Jacobian over the surviving coordinates
squared_gradients      a diagonal of ``J^T J``
linearised             the network linearised at its parameters
gradient_flow          its training in closed form
kernel_regression      where that ends, or a ridge regression
save_kernel            a kernel with its convention in a file; ``load_kernel`` reads it
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
from ntk_prune.ntk.by_layer import layer_kernels
from ntk_prune.ntk.empirical import empirical_ntk, estimate_cost
from ntk_prune.ntk.functions import Function
from ntk_prune.ntk.jacobian import jacobian
from ntk_prune.ntk.kernel_files import SavedKernel, load_kernel, save_kernel
from ntk_prune.ntk.linearised import GradientFlow, gradient_flow, linearised
from ntk_prune.ntk.operators import CrossNTKOperator, NTKOperator, ntk_operator
from ntk_prune.ntk.projections import projected_ntk
from ntk_prune.ntk.regression import KernelRegression, kernel_regression
from ntk_prune.ntk.squared_gradients import squared_gradients
from ntk_prune.ntk.traced import traced_ntk

__all__ = [
    "Cost",
    "CrossNTKOperator",
    "Function",
    "GradientFlow",
    "KernelRegression",
    "NTKOperator",
    "SavedKernel",
    "concentration",
    "diagnostics",
    "empirical_ntk",
    "estimate_cost",
    "gradient_flow",
    "infinite_width",
    "jacobian",
    "kernel_regression",
    "layer_kernels",
    "linearised",
    "load_kernel",
    "ntk_operator",
    "projected_ntk",
    "random_pruning",
    "save_kernel",
    "squared_gradients",
    "traced_ntk",
]
