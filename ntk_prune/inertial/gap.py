r"""Where an inertial manifold exists: gap conditions, the slope of the graph, certificates.

``lambda_1 <= ... <= lambda_d`` are the eigenvalues of the Hessian at ``W*``, ``m`` the dimension of
the slow space, ``g_m = lambda_(m+1) - lambda_m`` the gap above it, and ``L`` the Lipschitz constant
of the remainder ``F`` on a ball. The condition is ``g_m > C L``, with ``C`` by the proof:

- 2: cones, or Lyapunov-Perron in weighted L2 of time; sharp (Romanov 1994; Zelik, arXiv 1303.4457);
- 2 sqrt 2: Lyapunov-Perron in a weighted supremum norm, with the orthogonality of P and Q;
- 4: the same by the triangle inequality; quoted by FedDUAP (arXiv 2204.11536) from the IMC paper.
"""

import math
from typing import NamedTuple

import numpy as np

from ntk_prune.types import Array

CONSTANTS = {"cone": 2.0, "orthogonal": 2 * math.sqrt(2), "triangle": 4.0}


class Dimensions(NamedTuple):
    """The dimensions ``m`` of a slow space that a gap condition admits, ascending.

    Attributes:
        gap: Every ``m`` with ``g_m > C L``.
        attracting: Those of them with ``lambda_(m+1) > L``, so that all negative eigenvalues are
            in the slow part and the manifold attracts.
    """

    gap: np.ndarray
    attracting: np.ndarray


def admissible(
    values: Array,
    lipschitz: float,
    constant: float = CONSTANTS["cone"],
    *,
    below: int = 0,
) -> Dimensions:
    """The admissible dimensions among consecutive eigenvalues.

    Args:
        values: Eigenvalues ``[n]``, ascending: all of them, or a run of neighbours such as the
            upper end that Lanczos resolves.
        lipschitz: ``L``. With a lower bound of it the result may be too large a set.
        constant: ``C``, one of ``CONSTANTS``.
        below: How many eigenvalues lie below ``values[0]``.

    Raises:
        ValueError: for values that do not ascend, or a negative Lipschitz constant.

    >>> admissible([-0.1, 0.0, 0.1, 1.0, 1.2], lipschitz=0.2)
    Dimensions(gap=array([3]), attracting=array([3]))
    >>> admissible([-0.1, 0.0, 0.1, 1.0, 1.2], lipschitz=0.2, constant=CONSTANTS["triangle"]).gap
    array([3])
    """
    values = np.asarray(values, np.float64)
    if lipschitz < 0:
        raise ValueError(f"a Lipschitz constant is at least 0, got {lipschitz:g}")
    if values.ndim != 1 or (np.diff(values) < 0).any():
        raise ValueError("eigenvalues must be one ascending row")
    m = np.arange(1, len(values)) + below
    wide = np.diff(values) > constant * lipschitz
    # Ascending, so that all negative eigenvalues lie below a lambda_(m+1) > L >= 0.
    attracting = wide & (values[1:] > lipschitz)
    return Dimensions(m[wide], m[attracting])


def slope(gap: float, lipschitz: float) -> float:
    """``l* = (g - sqrt(g^2 - 4 L^2)) / (2 L)``, which bounds the slope of ``Phi``; else NaN.

    Cones ``|q| <= l |p|`` are invariant if ``l + 1/l < g / L``. ``l*`` is near ``L / g`` for wide
    gaps and 1 at the threshold.

    >>> round(slope(2.0, 0.0426), 4), slope(2.0, 1.0), slope(2.0, 1.408)
    (0.0213, 1.0, nan)
    """
    return blockwise_slope(gap, 0.0, lipschitz, lipschitz, 0.0)


def blockwise_slope(gap: float, pp: float, pq: float, qp: float, qq: float) -> float:
    """The slope from the Lipschitz constants of the blocks of ``F``; NaN where it fails.

    The condition is ``g > L_pp + L_qq + 2 sqrt(L_pq L_qp)``, the slope the smaller root ``l`` of
    ``L_pq l^2 - (g - L_pp - L_qq) l + L_qp = 0``.

    >>> blockwise_slope(2.0, 0.5, 0.5, 0.5, 0.5)
    1.0
    """
    room = gap - pp - qq
    if room <= 0 or room**2 < 4 * pq * qp:
        return math.nan
    # Without cancellation where the room is wide.
    return 2 * qp / (room + math.sqrt(room**2 - 4 * pq * qp))


def exit_time(radius: float, gradient_norm: float) -> float:
    """About when a trajectory from ``W*`` leaves the ball, ``r / |g*|``, in units of the flow:
    divided by the learning rate, in steps.

    >>> round(exit_time(0.01, 0.6), 3)
    0.017
    """
    return radius / gradient_norm if gradient_norm else math.inf


def momentum_threshold(learning_rate: float, momentum: float) -> float:
    """``lambda_c = (1 - sqrt beta)^2 / eta``: heavy ball contracts every eigenvalue from here to
    ``(1 + sqrt beta)^2 / eta`` at the same ``sqrt beta``: no gap above it exists to the optimiser.

    >>> round(momentum_threshold(0.1, 0.9), 4)
    0.0263
    """
    return (1 - math.sqrt(momentum)) ** 2 / learning_rate


def heavy_ball_modulus(values: Array, learning_rate: float, momentum: float) -> np.ndarray:
    """The modulus by which a step contracts each eigen-direction, ``|1 - eta lambda|`` without
    momentum: the larger root of ``z^2 - (1 + beta - eta lambda) z + beta``.

    >>> heavy_ball_modulus([0.0, 0.5, 19.0], 0.1, 0.0).round(3).tolist()
    [1.0, 0.95, 0.9]
    >>> heavy_ball_modulus([0.0, 0.5, 19.0], 0.1, 0.9).round(4).tolist()
    [1.0, 0.9487, 0.9487]
    """
    b = 1 + momentum - learning_rate * np.asarray(values, np.complex128)
    root = np.sqrt(b**2 - 4 * momentum)
    return np.maximum(abs(b + root), abs(b - root)) / 2


class Certificate(NamedTuple):
    """``alpha < beta`` certifies the cone of slope 1, without any Lipschitz constant.

    Attributes:
        alpha: The largest ``lambda_max`` of the slow block of the Hessian.
        beta: The smallest ``lambda_min`` of its fast block.
        num_points: At how many points they were looked for: a sampled certificate, not a proof,
            unless the points are all there are.
    """

    alpha: float
    beta: float
    num_points: int

    @property
    def holds(self) -> bool:
        return self.alpha < self.beta


def certificate(hessians: Array, slow: Array, fast: Array) -> Certificate:
    """``sup lambda_max(P^T Hess P) < inf lambda_min(Q^T Hess Q)`` over points of a convex ball.

    ``F`` has a symmetric derivative, so the off-diagonal blocks cancel in
    ``d/dt (|q|^2 - |p|^2)`` of two solutions, whatever the orthonormal splitting; then
    ``|q| <= |p|`` is invariant for their difference.

    Args:
        hessians: ``[n, d, d]``, at points of the ball.
        slow: Orthonormal columns ``[d, m]``: eigenvectors, or columns of the identity for a mask.
        fast: The orthonormal complement ``[d, d - m]``.

    >>> h = np.diag([0.1, 2.0])[None]
    >>> certificate(h, np.eye(2)[:, :1], np.eye(2)[:, 1:])
    Certificate(alpha=0.1, beta=2.0, num_points=1)
    """
    blocks = [np.linalg.eigvalsh(basis.T @ np.asarray(hessians) @ basis) for basis in (slow, fast)]
    return Certificate(float(blocks[0].max()), float(blocks[1].min()), len(hessians))


def coordinate_certificate(hessians: Array, kept: Array) -> Certificate:
    """``certificate`` with the coordinates ``kept`` (bool ``[d]``) slow and the others fast."""
    identity = np.eye(len(kept))
    kept = np.asarray(kept, bool)
    return certificate(hessians, identity[:, kept], identity[:, ~kept])


def check_density(density: float, size: int, dimensions: Dimensions, reading: str = "fast") -> None:
    """Raise ValueError for a density above every admissible dimension.

    Args:
        density: Kept / total.
        size: ``d``.
        dimensions: From ``admissible``.
        reading: ``"fast"`` keeps ``d - m`` directions, ``"slow"`` keeps ``m``.

    >>> dims = admissible([0.0, 0.0, 0.0, 1.0], lipschitz=0.1)
    >>> check_density(0.25, 4, dims)
    >>> check_density(0.5, 4, dims)
    Traceback (most recent call last):
    ...
    ValueError: density 0.5 keeps 2 of 4 weights; the gap condition admits at most 1
    """
    m = dimensions.attracting
    kept = round(density * size)
    most = max((m if reading == "slow" else size - m).tolist(), default=0)
    if kept > most:
        admits = f"at most {most}" if most else "no dimension"
        raise ValueError(
            f"density {density:g} keeps {kept} of {size} weights; the gap condition admits {admits}"
        )


def explain(
    dimensions: Dimensions,
    values: Array,
    *,
    below: int = 0,
    negative: int | None = None,
    momentum_from: float | None = None,
) -> str:
    """One plain sentence on what the gap condition admits, or why it admits nothing.

    Args:
        dimensions: From ``admissible`` with the same ``values`` and ``below``.
        values: Eigenvalues, ascending.
        below: How many lie below them.
        negative: How many of all eigenvalues are negative; by default counted in ``values``.
        momentum_from: ``momentum_threshold``: gaps above it do not exist to the optimiser.
    """
    values = np.asarray(values)
    negative = int((values < 0).sum()) if negative is None else negative
    if len(dimensions.attracting):
        text = f"admissible dimensions: {', '.join(map(str, dimensions.attracting))}"
        if momentum_from is not None:
            upper = values[dimensions.attracting - below]
            hidden = dimensions.attracting[upper > momentum_from]
            if len(hidden):
                text += f"; momentum contracts both sides of {len(hidden)} of these gaps alike"
        return text
    if len(dimensions.gap):
        return (
            f"none attracts: the gaps above m = {', '.join(map(str, dimensions.gap))} lie among "
            f"the {negative} negative eigenvalues or below the remainder's Lipschitz constant"
        )
    widest = float(np.diff(values).max())
    return (
        f"none: no gap is wide enough, the widest being {widest:.3g}; {negative} eigenvalues are "
        "negative"
    )
