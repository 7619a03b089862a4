r"""The plateau rule: a rate from a spectral density, as the authors' group publishes it.

The paper's own steps are not available. In later work of its group (FedDUAP, arXiv 2204.11536, code
in PaddleFL; FedPepTAO, arXiv 2310.15080, where the start is called ``imc_t``) the rate is a plateau
of ``tail(t)``, the share of eigenvalues above ``t``. The density is that of stochastic Lanczos
quadrature on one batch, with 50 steps and one Rademacher probe. FedDUAP *prunes* that share,
FedPepTAO *keeps* it. No Lipschitz constant is computed.

One probe is noise, and since the step is halved whenever the tail falls to a half, the result lies
near ``tail(start) / 2`` or above by construction: take several probes and report their spread.

Its density is cut off 0.01 beyond the outermost Ritz values, where Gaussians of the width it takes
still have mass, and then normalised: a cluster at an end of the spectrum loses 3% of its mass for a
range of 3, and a quarter for a range of 30. ``exact_tail`` has no such loss.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ntk_prune.types import Array


class Plateau(NamedTuple):
    """The share of eigenvalues above the plateau, its place, and the step that resolved it."""

    share: float
    threshold: float
    step: float


def smoothed_density(
    nodes: Array,
    weights: Array,
    *,
    num_points: int = 10_000,
    variance: float = 1e-5,
    overhead: float = 0.01,
) -> tuple[np.ndarray, np.ndarray]:
    """``(grid, density)`` of quadrature nodes ``[k]`` as sums of Gaussians, normalised on the grid.

    Args:
        nodes: Ritz values of one probe.
        weights: Their weights.
        num_points: Of the grid.
        variance: Of the Gaussians, times the range of the grid where that exceeds 1.
        overhead: How far the grid reaches beyond the nodes.
    """
    nodes, weights = np.asarray(nodes, np.float64), np.asarray(weights, np.float64)
    grid = np.linspace(nodes.min() - overhead, nodes.max() + overhead, num_points)
    spread = variance * max(1.0, grid[-1] - grid[0])
    density = np.zeros(num_points)
    for node, weight in zip(nodes, weights, strict=True):
        density += weight * np.exp(-np.square(grid - node) / (2 * spread))
    return grid, density / (density.sum() * (grid[1] - grid[0]))


Tail = Callable[[float], float]
"""``tail(t)``, the share of eigenvalues above ``t``."""


def published_tail(nodes: Array, weights: Array) -> Tail:
    """The tail of ``smoothed_density`` by the rectangles of the published codes."""
    grid, density = smoothed_density(nodes, weights)
    below = np.concatenate([[0.0], np.cumsum(density * (grid[1] - grid[0]))])

    def tail(t: float) -> float:
        return float(1 - below[max(0, int(np.searchsorted(grid, t, side="right")) - 1)])

    return tail


def exact_tail(nodes: Array, weights: Array) -> Tail:
    """The tail of the quadrature itself: the weight of the nodes above ``t``.

    >>> exact_tail([-1.0, 2.0], [0.25, 0.75])(0.0)
    0.75
    """
    nodes, weights = np.asarray(nodes, np.float64), np.asarray(weights, np.float64)
    return lambda t: float(weights[nodes > t].sum())


def plateau(
    tail: Tail, *, start: float = 0.0, step: float = 0.1, tolerance: float = 0.005
) -> Plateau:
    """The rule of the published codes on the tail of one probe.

    From ``start`` the threshold rises by ``step``; once three changes of the tail in a row are
    below ``tolerance`` that tail is the result. Where the tail falls below half of its first value
    before, the step is halved and the search begins again.

    Args:
        tail: ``published_tail`` or ``exact_tail``.
        start: The first threshold.
        step: The first step.
        tolerance: The largest change on a plateau.

    A third of the eigenvalues lies at 2, the others below zero:

    >>> round(plateau(exact_tail([-0.5, 2.0], [2 / 3, 1 / 3])).share, 4)
    0.3333
    """
    while True:
        tails, threshold = [tail(start)], start
        while tails[-1] >= tails[0] / 2:
            if len(tails) >= 4 and np.abs(np.diff(tails[-4:])).max() < tolerance:
                return Plateau(tails[-1], threshold, step)
            threshold += step
            tails.append(tail(threshold))
        step /= 2
