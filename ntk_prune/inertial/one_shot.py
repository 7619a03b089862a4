r"""What the spectrum predicts for any mask: the largest one-shot sparsity, and overlaps.

The largest sparsity (Zhang, Zhang, Sun, Liu, arXiv 2306.05857): near ``W*`` the loss stays within
``eps`` on an ellipsoid of half-axes ``r_i``, ``r_i^2 = 2 eps / |lambda_i|``. Seen from a distance
``R``, the square of its Gaussian width is ``d delta(R)``, and a mask needs the rest of ``d``:

    delta(R) = 1/d sum_i r_i^2 / (R^2 + r_i^2).

A magnitude mask that prunes the share ``rho`` moves by ``R(rho) = |W* - W* o m_rho|``, and the
prediction is the fixed point ``rho = delta(R(rho))``. The published code takes the nearest point of
a grid with ``R`` rounded to an integer; here it is exact.

Overlap with the curvature (Fernandez et al., arXiv 2504.14701): ``|U_k[S]|_F^2 / k`` for the top
eigenvectors ``U_k`` of the Hessian, against chance ``|S| / d``.
"""

import dataclasses

import numpy as np

from ntk_prune.coordinates import Coordinates
from ntk_prune.inertial.leverage import Captured, captured
from ntk_prune.landscape import MaskedLoss
from ntk_prune.linalg import Estimate, Quadrature
from ntk_prune.linalg.estimates import sample_mean
from ntk_prune.types import Array, Batch, Mask


def predicted_sparsity(weights: Array, nodes: Array, shares: Array, epsilon: float) -> float:
    """The fixed point ``rho`` in [0, 1] for one quadrature of the spectrum.

    Args:
        weights: ``W* [d]``, those that a magnitude mask ranks.
        nodes: Eigenvalues, or Ritz values of one probe ``[m]``.
        shares: What share of the spectrum each stands for; they sum to 1.
        epsilon: ``eps``; in the paper the standard deviation of the loss over batches.

    Raises:
        ValueError: for ``epsilon`` below or at zero.

    With all weights 1 and eigenvalues 2, ``R^2 = rho d`` and ``delta = 1 / (1 + rho d / eps)``:

    >>> round(predicted_sparsity(np.ones(100), [2.0], [1.0], epsilon=1.0), 6)
    0.095125
    """
    if epsilon <= 0:
        raise ValueError(f"epsilon must be positive, got {epsilon}")
    moved = np.concatenate([[0.0], np.cumsum(np.sort(np.square(np.asarray(weights, np.float64))))])
    curvature = np.abs(np.asarray(nodes, np.float64)) / (2 * epsilon)
    shares = np.asarray(shares, np.float64)

    def excess(rho: float) -> float:
        """``delta(R(rho)) - rho``, which falls; ``R^2`` is linear between whole weights."""
        square = np.interp(rho * (len(moved) - 1), np.arange(len(moved)), moved)
        return float(shares @ (1 / (1 + square * curvature)) - rho)

    from scipy.optimize import root_scalar

    return 1.0 if excess(1.0) >= 0 else root_scalar(excess, bracket=(0.0, 1.0), xtol=1e-14).root


def sparsity_limit(weights: Array, probes: list[Quadrature], epsilon: float) -> Estimate:
    """``predicted_sparsity`` of each probe of ``spectrum.quadratures``: mean and standard error."""
    return sample_mean([predicted_sparsity(weights, *probe, epsilon) for probe in probes])


def loss_spread(loss: MaskedLoss) -> float:
    """``eps``: the standard deviation over batches of their mean losses, at least 1e-12."""
    batches = loss.batches
    each = [
        dataclasses.replace(loss, batches=Batch(batches.x[i : i + 1], batches.y[i : i + 1]))
        for i in range(len(batches.x))
    ]
    return max(float(np.std([batch.value_and_gradient()[0] for batch in each])), 1e-12)


def mask_overlap(mask: Mask, coordinates: Coordinates, vectors: Array) -> Captured:
    """The overlap of any mask with a space of eigenvectors ``[size, k]``, and chance.

    Args:
        mask: A mask within the one that ``coordinates`` belongs to.
        coordinates: Of the loss whose eigenvectors these are; chance counts its ``size``.
        vectors: Orthonormal columns, such as the top eigenvectors of its Hessian.
    """
    return captured(vectors, np.asarray(coordinates.vector(mask)) > 0)
