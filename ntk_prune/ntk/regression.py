r"""Kernel regression with the NTK, in closed form.

    f(X') = f_0(X') + K(X', X) (K + ridge I)^-1 (y - f_0(X))

is the minimum of ``|f(X) - y|^2 + ridge |f - f_0|_H^2`` over the functions of the kernel's Hilbert
space (Schoelkopf and Smola, 2002); for ``ridge = 0`` it is the limit of ``gradient_flow`` at
infinite time (Jacot et al., arXiv 1806.07572).
"""

from typing import NamedTuple

import numpy as np
from scipy import linalg

from ntk_prune.ntk.diagnostics import as_matrix, rounding
from ntk_prune.types import Array


class KernelRegression(NamedTuple):
    """A fitted regression: the coefficients of the training inputs."""

    dual: np.ndarray  # (K + ridge I)^-1 (y - f_0(X)) [n, C]

    def predict(self, kernel: Array, f0: Array | None = None) -> np.ndarray:
        """Outputs ``[m, C]`` elsewhere, from ``K(X', X)`` and ``f0 [m, C]``, zero without it.

        ``kernel`` has the convention of the one that was fitted: ``[m, n, C, C]`` or ``[m, n]``.
        Raises ValueError when shapes do not fit.
        """
        matrix = as_matrix(kernel)
        columns = _columns(self.dual, matrix.shape[1])
        predicted = (matrix @ columns).reshape(len(kernel), *self.dual.shape[1:])
        return predicted + _start(f0, predicted.shape)


def kernel_regression(
    kernel: Array, y: Array, *, ridge: float = 0.0, f0: Array | None = None
) -> KernelRegression:
    """Fit targets ``y [n, C]`` with a kernel ``[n, n, C, C]``, or with one ``[n, n]`` for each
    output by itself, as where ``outputs`` is ``"trace"`` (whose scale is that of ``C`` outputs).

    A ridge is solved by Cholesky. Without one, eigenvalues that rounding does not tell from zero
    are left out: the solution has the least norm, and duplicated inputs get their mean target.

    Args:
        kernel: Between the training inputs.
        y: Targets ``[n, C]``, or of another shape ``[n, ...]``.
        ridge: At least 0, in the units of the kernel.
        f0: Outputs at the start, like ``y``: what is added to is the network, not zero.

    Raises:
        ValueError: for shapes that do not fit, a ridge below 0, entries that are not finite, or a
            kernel with an eigenvalue below ``-ridge``.

    >>> fitted = kernel_regression(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([[2.0], [8.0]]))
    >>> fitted.predict(np.array([[1.0, 1.0]])).tolist()
    [[3.0]]
    """
    if not (np.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be a finite number of at least 0, got {ridge}")
    matrix, targets = as_matrix(kernel), np.asarray(y, np.float64)
    if len(matrix) != matrix.shape[1] or len(kernel) != len(targets):
        raise ValueError(
            f"the kernel must be between the {len(targets)} inputs of the targets, got "
            f"{np.shape(kernel)}"
        )
    residual = _columns(targets - _start(f0, targets.shape), len(matrix))
    for name, values in (("kernel", matrix), ("residual y - f0", residual)):
        if not np.isfinite(values).all():
            raise ValueError(f"the {name} has entries that are not finite")
    symmetric = (matrix + matrix.T) / 2
    if ridge:
        dual = _solve_ridge(symmetric, residual, ridge)
    else:
        values, vectors = linalg.eigh(symmetric)
        kept = values > rounding(kernel, values[-1])
        dual = vectors[:, kept] @ (vectors[:, kept].T @ residual / values[kept, None])
    return KernelRegression(dual.reshape(targets.shape))


def _solve_ridge(matrix: np.ndarray, residual: np.ndarray, ridge: float) -> np.ndarray:
    try:
        factor = linalg.cho_factor(matrix + ridge * np.eye(len(matrix)))
    except linalg.LinAlgError:
        raise ValueError(
            f"the kernel plus a ridge of {ridge:.3g} is not positive definite: take a larger one, "
            "or accumulate='float64'"
        ) from None
    return linalg.cho_solve(factor, residual)


def _columns(values: np.ndarray, size: int) -> np.ndarray:
    """``[n, C]`` as one column ``[n C, 1]`` or, where the kernel is shared, as ``[n, C]``."""
    if size not in (values.size, len(values)):
        raise ValueError(
            f"a kernel with {size} columns does not fit targets {values.shape}: it must have "
            f"{len(values)} or {values.size}"
        )
    return values.reshape(size, values.size // size)


def _start(f0: Array | None, shape: tuple[int, ...]) -> np.ndarray:
    if f0 is None:
        return np.zeros(shape)
    if np.shape(f0) != shape:
        raise ValueError(f"f0 must have the shape of the outputs {shape}, got {np.shape(f0)}")
    return np.asarray(f0, np.float64)
