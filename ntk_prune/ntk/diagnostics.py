"""What a dense kernel says: eigenvalues, condition, norms, rank, alignment with labels, distance.

Kernels are ``[n, n]`` or, in the full convention, ``[n, n, C, C]``.
"""

import numpy as np

from ntk_prune.types import Array


def as_matrix(kernel: Array) -> np.ndarray:
    """``[n1, n2, C, C] -> [n1 C, n2 C]`` in float64; ``[n1, n2]`` stays.

    Raises ValueError for another shape.
    """
    values = np.asarray(kernel, np.float64)
    if values.ndim == 4:
        n1, n2, rows, columns = values.shape
        return values.transpose(0, 2, 1, 3).reshape(n1 * rows, n2 * columns)
    if values.ndim != 2:
        raise ValueError(f"a kernel is [n1, n2] or [n1, n2, C, C], got {values.shape}")
    return values


def eigenvalues(kernel: Array) -> np.ndarray:
    """All eigenvalues, largest first, of the symmetrised kernel.

    Negative ones within rounding are returned as they are.

    Raises:
        ValueError: when the kernel is not square or an eigenvalue is negative beyond rounding.
    """
    matrix = as_matrix(kernel)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"eigenvalues of a kernel between different inputs: {matrix.shape}")
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1]
    if values[-1] < -_rounding(kernel, values[0]):
        raise ValueError(
            f"not positive semi-definite: eigenvalues from {values[-1]:.3g} to {values[0]:.3g}; "
            "use accumulate='float64' or float64 parameters"
        )
    return values


def _rounding(kernel: Array, scale: float) -> float:
    """Eigenvalues below this are not resolved from zero."""
    dtype = np.asarray(kernel).dtype
    eps = np.finfo(dtype if np.issubdtype(dtype, np.floating) else np.float64).eps
    return float(as_matrix(kernel).shape[0] * eps * abs(scale))


def condition_number(kernel: Array) -> float:
    """Largest over smallest eigenvalue.

    Raises:
        LinAlgError: when the kernel is singular to working precision; it names duplicated inputs.
    """
    values = eigenvalues(kernel)
    if values[-1] <= _rounding(kernel, values[0]):
        pairs = duplicates(kernel)
        why = f"; inputs {pairs[0][0]} and {pairs[0][1]} have one Jacobian" if pairs else ""
        raise np.linalg.LinAlgError(
            f"singular kernel: eigenvalues from {values[-1]:.3g} to {values[0]:.3g}{why}"
        )
    return float(values[0] / values[-1])


def duplicates(kernel: Array) -> list[tuple[int, int]]:
    """Pairs of inputs ``i < j`` with the same Jacobian to rounding: ``|J_i - J_j|^2 ~ 0``."""
    values = np.asarray(kernel, np.float64)
    traced = np.einsum("ijkk->ij", values) if values.ndim == 4 else as_matrix(values)
    norms = np.diag(traced)
    distance = norms[:, None] + norms[None, :] - 2 * traced
    close = distance <= _rounding(kernel, 1.0) * (norms[:, None] + norms[None, :])
    return [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(close, 1)), strict=True)]


def nuclear_norm(kernel: Array) -> float:
    """The sum of the absolute eigenvalues; the trace, for a kernel without rounding."""
    return float(np.abs(eigenvalues(kernel)).sum())


def effective_rank(kernel: Array) -> float:
    """``exp(H(p))`` with ``p`` the eigenvalues over their sum (Roy and Vetterli, 2007).

    >>> effective_rank(np.eye(4))
    4.0
    """
    p = np.clip(eigenvalues(kernel), 0.0, None)
    p = p[p > 0] / p.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def label_alignment(kernel: Array, labels: Array, num_classes: int) -> float:
    """``<K, Y Y^T> / (|K| |Y Y^T|)`` with centred one-hot labels (Cristianini et al., 2001).

    For the full convention ``Y Y^T`` is the outer product of all ``n C`` targets.
    """
    targets = np.eye(num_classes)[np.asarray(labels)]
    targets = targets - targets.mean(0)
    if np.ndim(kernel) == 4:
        targets = targets.reshape(-1, 1)
    ideal = targets @ targets.T
    return float(np.vdot(as_matrix(kernel), ideal) / _norm(kernel) / np.linalg.norm(ideal))


def relative_distance(kernel: Array, reference: Array) -> float:
    """``|K - K0|_F / |K0|_F``.

    Raises ValueError when the shapes differ.
    """
    if np.shape(kernel) != np.shape(reference):
        raise ValueError(f"kernels differ in shape: {np.shape(kernel)} and {np.shape(reference)}")
    difference = np.asarray(kernel, np.float64) - np.asarray(reference, np.float64)
    return float(np.linalg.norm(difference) / _norm(reference))


def _norm(kernel: Array) -> float:
    return float(np.linalg.norm(as_matrix(kernel)))
