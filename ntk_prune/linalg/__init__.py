"""Linear algebra by products with vectors alone: spectra, traces and diagonals of operators.

A ``SymmetricOperator`` has ``matvec``, ``size`` and ``dtype``; what it stands for, a kernel or a
Hessian, nothing here knows. What random probes estimate comes with its standard error and the
number of probes.

====================  =====================================================================
extreme_eigenpairs    both ends of the spectrum with vectors and residuals, one Lanczos run
top_eigenvalues       the largest eigenvalues with residuals
condition_number      largest over smallest
trace                 by Hutchinson or Hutch++
frobenius_norm        likewise
diagonal              by Hutchinson
spectral_density      by stochastic Lanczos quadrature
array_mean            of samples, such as kernels of an ensemble, with standard errors
quadrature            its nodes and weights, one probe
lanczos               the decomposition that the spectra come from
====================  =====================================================================
"""

from ntk_prune.linalg.density import (
    Density,
    Quadrature,
    quadrature,
    smoothed_density,
    spectral_density,
)
from ntk_prune.linalg.estimates import Estimate, VectorEstimate, array_mean
from ntk_prune.linalg.lanczos import (
    Condition,
    Eigenpairs,
    Eigenvalues,
    Extremes,
    Tridiagonal,
    condition_number,
    extreme_eigenpairs,
    lanczos,
    top_eigenvalues,
)
from ntk_prune.linalg.operators import LinearMap, SymmetricOperator, from_matrix
from ntk_prune.linalg.traces import diagonal, frobenius_norm, trace

__all__ = [
    "Condition",
    "Density",
    "Eigenpairs",
    "Eigenvalues",
    "Estimate",
    "Extremes",
    "LinearMap",
    "Quadrature",
    "SymmetricOperator",
    "Tridiagonal",
    "VectorEstimate",
    "array_mean",
    "condition_number",
    "diagonal",
    "extreme_eigenpairs",
    "frobenius_norm",
    "from_matrix",
    "lanczos",
    "quadrature",
    "smoothed_density",
    "spectral_density",
    "top_eigenvalues",
    "trace",
]
