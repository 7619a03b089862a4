"""What a dense kernel says: eigenvalues, condition, norms, rank, alignment with labels; and how far
apart two kernels on the same inputs are: distance, alignment, angles between their eigenspaces.

Kernels are ``[n, n]`` or, in the full convention, ``[n, n, C, C]``.
"""

import math

import numpy as np
from scipy import linalg

from ntk_prune.types import Array


def as_matrix(kernel: Array) -> np.ndarray:
    """``[n1, n2, C, C] -> [n1 C, n2 C]`` in float64; ``[n1, n2]`` stays. Outputs of another shape
    than ``[C]`` count as one row.

    Raises ValueError for another shape.
    """
    values = np.asarray(kernel, np.float64)
    shape, half = values.shape, values.ndim // 2
    if values.ndim < 2 or values.ndim % 2 or shape[2 : half + 1] != shape[half + 1 :]:
        raise ValueError(
            "a kernel is [n1, n2], or [n1, n2, C, C] with the shape of the outputs twice, got "
            f"{values.shape}"
        )
    outputs = range(2, half + 1)
    rows = values.transpose(0, *outputs, 1, *(i + half - 1 for i in outputs))
    return rows.reshape(math.prod(rows.shape[:half]), math.prod(rows.shape[half:]))


def eigenvalues(kernel: Array) -> np.ndarray:
    """All eigenvalues, largest first, of the symmetrised kernel.

    Negative ones within rounding are returned as they are.

    Raises:
        ValueError: when the kernel is not square or an eigenvalue is negative beyond rounding.
        FloatingPointError: when an entry is not finite.
    """
    matrix = as_matrix(kernel)
    bad = int((~np.isfinite(matrix)).sum())
    if bad:
        raise FloatingPointError(f"{bad} of {matrix.size} entries of the kernel are not finite")
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"eigenvalues of a kernel between different inputs: {matrix.shape}")
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1]
    if values[-1] < -rounding(kernel, values[0]):
        raise ValueError(
            f"not positive semi-definite: eigenvalues from {values[-1]:.3g} to {values[0]:.3g}; "
            "use accumulate='float64' or float64 parameters"
        )
    return values


def rounding(kernel: Array, scale: float) -> float:
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
    if values[-1] <= rounding(kernel, values[0]):
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
    close = distance <= rounding(kernel, 1.0) * (norms[:, None] + norms[None, :])
    return [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(close, 1)), strict=True)]


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

    Raises ValueError for labels that are not ``n`` integers in ``0..num_classes - 1`` of at least
    two classes, and for a kernel that is zero.
    """
    labels = np.asarray(labels)
    if labels.shape != np.shape(kernel)[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be {np.shape(kernel)[0]} integers, got {labels.dtype} {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {labels.min()} to "
                         f"{labels.max()}")  # fmt: skip
    if labels.min() == labels.max():
        raise ValueError("all labels are of one class: there is nothing to be aligned with")
    targets = np.eye(num_classes)[labels]
    targets = targets - targets.mean(0)
    if np.ndim(kernel) == 4:
        targets = targets.reshape(-1, 1)
    ideal = targets @ targets.T
    return float(np.vdot(as_matrix(kernel), ideal) / _size(kernel) / np.linalg.norm(ideal))


def relative_distance(kernel: Array, reference: Array) -> float:
    """``|K - K0|_F / |K0|_F``.

    Raises ValueError when the shapes differ, or the reference is zero.
    """
    _check_alike(kernel, reference)
    difference = np.asarray(kernel, np.float64) - np.asarray(reference, np.float64)
    return float(np.linalg.norm(difference) / _size(reference))


def kernel_alignment(a: Array, b: Array, *, centred: bool = False) -> float:
    """``<A, B>_F / (|A|_F |B|_F)`` of two kernels on the same inputs; 1 for multiples, 0.0 where
    one of them is zero.

    ``centred`` takes the mean over the inputs out of both first (Cortes et al., arXiv 1203.0550),
    in the full convention for every pair of outputs: what all inputs share does not count then.

    Raises ValueError when the shapes differ.

    >>> kernel_alignment(np.eye(4), np.ones((4, 4)))
    0.5
    """
    _check_alike(a, b)
    if centred:
        a, b = _centre(a), _centre(b)
    norms = _norm(a) * _norm(b)
    return float(np.vdot(as_matrix(a), as_matrix(b)) / norms) if norms else 0.0


def principal_angles(a: Array, b: Array, k: int) -> np.ndarray:
    """Angles ``[k]`` in radians, smallest first, between the eigenspaces of two kernels.

    Each space is that of the ``k`` largest eigenvalues; it is defined where the next eigenvalue is
    smaller. In the full convention it lies in the ``n C`` outputs on all inputs.

    Raises ValueError for kernels of different shapes or not square, and k outside 1..size.

    >>> principal_angles(np.diag([3.0, 2.0, 1.0]), np.diag([3.0, 1.0, 2.0]), 2).round(6).tolist()
    [0.0, 1.570796]
    """
    _check_alike(a, b)
    return linalg.subspace_angles(_top_space(a, k), _top_space(b, k))[::-1]


def subspace_overlap(a: Array, b: Array, k: int) -> float:
    """Mean squared cosine of the ``principal_angles``: ``|U' V|_F^2 / k``.

    1 for equal eigenspaces, ``k / size`` on average for random ones. Raises as they do.

    >>> subspace_overlap(np.diag([3.0, 2.0, 1.0]), np.diag([3.0, 1.0, 2.0]), 2)
    0.5
    """
    _check_alike(a, b)
    return float(np.square(_top_space(a, k).T @ _top_space(b, k)).sum() / k)


def _top_space(kernel: Array, k: int) -> np.ndarray:
    """Orthonormal eigenvectors ``[size, k]`` of the largest eigenvalues."""
    matrix = as_matrix(kernel)
    size = len(matrix)
    if matrix.shape != (size, size):
        raise ValueError(f"eigenspaces of a kernel between different inputs: {matrix.shape}")
    if not 1 <= k <= size:
        raise ValueError(f"an eigenspace has 1 to {size} dimensions here, got {k}")
    symmetric = (matrix + matrix.T) / 2
    return linalg.eigh(symmetric, subset_by_index=[size - k, size - 1])[1]


def _centre(kernel: Array) -> np.ndarray:
    """``H K H`` over the inputs, the first two axes, with ``H = I - 1 1' / n``."""
    values = np.asarray(kernel, np.float64)
    values = values - values.mean(0, keepdims=True)
    return values - values.mean(1, keepdims=True)


def _check_alike(a: Array, b: Array) -> None:
    if np.shape(a) != np.shape(b):
        raise ValueError(f"kernels differ in shape: {np.shape(a)} and {np.shape(b)}")


def _size(kernel: Array) -> float:
    """The norm of a kernel that is divided by. ValueError where it is zero."""
    norm = _norm(kernel)
    if norm == 0:
        raise ValueError("the kernel is zero: nothing can be measured against it")
    return norm


def _norm(kernel: Array) -> float:
    return float(np.linalg.norm(as_matrix(kernel)))
