r"""From an eigenspace to coordinates: leverage, rank-revealing QR, and how much they lose.

``U [d, k]`` has orthonormal columns that span a space; ``l_j = |row j of U|^2`` in [0, 1] is the
leverage of coordinate ``j``, and ``sum_j l_j = k``. For complementary spaces
``l_j^fast = 1 - l_j^slow``: the two rankings are reverses of each other. With ``E_S`` spanned by
the coordinates ``S``, ``|S| >= k``,

    sum_i sin^2 theta_i(U, E_S) = k - sum_(j in S) l_j,        cos theta_max = sigma_min(U_S),

so the largest leverages are optimal in the Frobenius norm; yet two of them may lie in the same row
direction, which strong rank-revealing QR avoids (Gu and Eisenstat 1996):
``sigma_min(U_S) >= 1 / sqrt(1 + f^2 k (d - k))``.
"""

import math
from typing import NamedTuple

import numpy as np

from ntk_prune.types import Array


def leverage(vectors: Array) -> np.ndarray:
    """``l_j``, the squared norms ``[d]`` of the rows of orthonormal columns ``[d, k]``.

    >>> leverage(np.array([[0.6], [0.8], [0.0]])).round(2).tolist()
    [0.36, 0.64, 0.0]
    """
    return np.square(np.asarray(vectors, np.float64)).sum(axis=1)


class Captured(NamedTuple):
    """What a set of coordinates ``S`` keeps of a space.

    Attributes:
        share: ``sum_(j in S) l_j / k``.
        chance: ``|S| / d``, its mean over random sets.
        smallest_cosine: ``sigma_min(U_S)``, 0 where ``|S| < k``.
    """

    share: float
    chance: float
    smallest_cosine: float


def captured(vectors: Array, kept: Array) -> Captured:
    """Captured leverage, chance, and the smallest singular value of the kept rows.

    Args:
        vectors: ``U [d, k]``, orthonormal columns.
        kept: Bool ``[d]``.

    >>> captured(np.eye(4)[:, :2], np.array([True, False, True, False]))
    Captured(share=0.5, chance=0.5, smallest_cosine=0.0)
    """
    rows = np.asarray(vectors, np.float64)[np.asarray(kept, bool)]
    k = rows.shape[1]
    share = float(np.square(rows).sum() / k)
    enough = len(rows) >= k
    cosine = float(np.linalg.svd(rows, compute_uv=False)[-1]) if enough else 0.0
    return Captured(share, len(rows) / len(vectors), cosine)


def strong_rrqr(matrix: Array, f: float = 2.0, max_swaps: int = 1000) -> np.ndarray:
    """The columns ``[k]`` of ``matrix [k, d]`` that strong rank-revealing QR selects.

    scipy's pivoted QR, then swaps until no exchange of a selected column for another one would
    enlarge the selected volume by more than ``f``. With ``matrix = U^T`` these are coordinates
    with ``sigma_min(U_S) >= 1 / sqrt(1 + f^2 k (d - k))``. Pivoted QR alone has no such bound.

    Raises:
        ValueError: for ``f < 1`` or a matrix whose rows are dependent.
        RuntimeError: after ``max_swaps`` swaps.
    """
    from scipy.linalg import qr, solve_triangular

    matrix = np.asarray(matrix, np.float64)
    if f < 1:
        raise ValueError(f"f must be at least 1, got {f}")
    k = len(matrix)
    r, pivots = (np.asarray(part) for part in qr(matrix, mode="r", pivoting=True)[-2:])
    diagonal = np.abs(np.diag(r))
    if diagonal[-1] <= len(pivots) * np.finfo(float).eps * diagonal[0]:
        raise ValueError("the rows of the matrix are dependent: fewer directions span the space")
    coefficients = solve_triangular(r[:, :k], r[:, k:])  # [k, d - k]; |entry| = change of volume
    for _ in range(max_swaps):
        if np.abs(coefficients).max(initial=0.0) <= f:
            return pivots[:k]
        i, j = np.unravel_index(np.abs(coefficients).argmax(), coefficients.shape)
        pivots[[i, k + j]] = pivots[[k + j, i]]
        _exchange(coefficients, int(i), int(j))
    raise RuntimeError(f"{max_swaps} swaps left a volume that grows by more than {f:g}")


def _exchange(coefficients: np.ndarray, i: int, j: int) -> None:
    """``A^-1 B`` in place after column ``i`` of ``A`` and column ``j`` of ``B`` change places."""
    pivot = coefficients[i, j]
    row, column = coefficients[i].copy(), coefficients[:, j].copy()
    column[i] -= 1
    coefficients -= np.outer(column, row / pivot)
    coefficients[:, j] = -column / pivot
    coefficients[i, j] = 1 / pivot


def slaving_slope(vectors: Array, kept: Array) -> float:
    """``|U_(S^c) U_S^-1| = tan theta_max``: the slope over ``E_S`` of the space of ``U [d, k]``.

    Raises:
        ValueError: unless exactly ``k`` coordinates are kept.
        LinAlgError: where the space is no graph over them.
    """
    vectors, kept = np.asarray(vectors, np.float64), np.asarray(kept, bool)
    if kept.sum() != vectors.shape[1]:
        raise ValueError(f"a graph over {kept.sum()} coordinates of {vectors.shape[1]} directions")
    if kept.all():
        return 0.0
    return float(np.linalg.norm(np.linalg.solve(vectors[kept].T, vectors[~kept].T), 2))


class Perturbation(NamedTuple):
    """Bounds on the angle between ``E_S`` and the slow eigenspace of the same dimension.

    Attributes:
        coupling: ``|H_FS|``, the spectral norm of the off-diagonal block.
        gap: ``g_c = lambda_min(H_FF) - lambda_max(H_SS)``, at most the gap of the spectrum.
        sine: Davis-Kahan, ``sin theta_max <= |H_FS| / dist(spec H_SS, lambda_(>m))``, at most 1.
        tangent_of_double: ``tan 2 theta_max <= 2 |H_FS| / g_c``, infinite where ``g_c <= 0``.
    """

    coupling: float
    gap: float
    sine: float
    tangent_of_double: float


def perturbation(hessian: Array, kept: Array) -> Perturbation:
    """The bounds for a symmetric ``hessian [d, d]`` and coordinates ``kept`` (bool ``[d]``)."""
    h, kept = np.asarray(hessian, np.float64), np.asarray(kept, bool)
    coupling = float(np.linalg.norm(h[~kept][:, kept], 2))
    slow = np.linalg.eigvalsh(h[kept][:, kept])
    fast = np.linalg.eigvalsh(h[~kept][:, ~kept])
    above = np.linalg.eigvalsh(h)[len(slow) :]
    distance = float(np.abs(slow[:, None] - above[None, :]).min())
    gap = float(fast[0] - slow[-1])
    return Perturbation(
        coupling,
        gap,
        min(1.0, coupling / distance) if distance else 1.0,
        2 * coupling / gap if gap > 0 else math.inf,
    )


def schur_complement(hessian: Array, kept: Array) -> np.ndarray:
    """``H_SS - H_SF H_FF^-1 H_FS``: the Hessian of a quadratic loss whose pruned coordinates
    follow at their minimum, so that nothing is lost."""
    h, kept = np.asarray(hessian, np.float64), np.asarray(kept, bool)
    coupling = h[~kept][:, kept]
    return h[kept][:, kept] - coupling.T @ np.linalg.solve(h[~kept][:, ~kept], coupling)
