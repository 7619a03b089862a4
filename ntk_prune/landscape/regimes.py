"""The regimes of pruned networks on a grid of temperature and load (Zhou et al., arXiv 2305.18383).

Two retrainings of one pruned network are

    I      not connected
    II-A   connected, with outputs that are not similar
    II-B   connected and similar

The paper draws the boundaries by hand and names no thresholds: those here are this package's, and
a result has to state them. Grids are ``[T, D]``, a row for each temperature from the highest to the
lowest and a column for each density.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

NOT_CONNECTED, DISSIMILAR, SIMILAR = "I", "II-A", "II-B"
DEAD, MISSING = "dead", ""


class Regimes(NamedTuple):
    """``labels [T, D]``, each "I", "II-A", "II-B", "dead" or "", and the cuts they rest on.

    ``similarity`` is None when it was to be the median over connected cells and there are none.
    """

    labels: np.ndarray
    connectivity: float
    similarity: float | None


def dead_cells(train_error: ArrayLike, num_classes: int, share: float = 0.9) -> np.ndarray:
    """Where the training error of an end point is above ``share * (1 - 1 / num_classes)``.

    Networks that answer by chance are connected and similar without having learnt anything.

    >>> dead_cells(np.array([0.1, 0.89]), num_classes=10).tolist()
    [False, True]
    """
    return np.asarray(train_error, np.float64) > share * (1 - 1 / num_classes)


def classify(
    lmc: ArrayLike,
    cka: ArrayLike,
    *,
    connectivity: float = 0.1,
    similarity: float | None = None,
    dead: ArrayLike | None = None,
) -> Regimes:
    """The regime of every cell of a grid.

    Args:
        lmc: Published connectivity ``[T, D]``, negative at a barrier; nan where it is missing.
        cka: Similarity of the outputs ``[T, D]``; nan where it is missing.
        connectivity: A cell is connected from ``lmc = -connectivity`` up.
        similarity: A connected cell is similar from this ``cka`` up; None for the median over the
            connected cells.
        dead: Cells ``[T, D]`` that have no regime, see ``dead_cells``; the median leaves them out.

    Raises ValueError for grids that differ in shape.

    >>> grid = classify([[-0.3, -0.02, 0.0]], [[0.5, 0.9, 0.95]])
    >>> grid.labels.tolist(), round(grid.similarity, 3)
    ([['I', 'II-A', 'II-B']], 0.925)
    """
    lmc, cka = np.asarray(lmc, np.float64), np.asarray(cka, np.float64)
    gone = np.zeros(lmc.shape, bool) if dead is None else np.asarray(dead, bool)
    if not lmc.shape == cka.shape == gone.shape:
        raise ValueError(f"grids differ in shape: {lmc.shape}, {cka.shape} and {gone.shape}")
    comparable = (lmc >= -connectivity) & np.isfinite(cka) & ~gone
    if similarity is None and comparable.any():
        similarity = float(np.median(cka[comparable]))
    similar = comparable & (cka >= (np.inf if similarity is None else similarity))
    labels = np.select(
        [gone, lmc < -connectivity, similar, comparable],
        [DEAD, NOT_CONNECTED, SIMILAR, DISSIMILAR],
        MISSING,
    )
    return Regimes(labels, connectivity, similarity)


class Boundaries(NamedTuple):
    """Line segments ``[K, 2, 2]``, each two points ``(column, row)``, to be drawn over a grid.

    Cell ``(i, j)`` covers the rows ``i - 1/2 .. i + 1/2`` and the columns ``j - 1/2 .. j + 1/2``.
    ``connectivity`` parts I from II-A and II-B, ``similarity`` II-A from II-B.
    """

    connectivity: np.ndarray
    similarity: np.ndarray


def boundaries(labels: ArrayLike) -> Boundaries:
    """The edges between neighbouring cells of ``labels [T, D]`` that lie in different regimes.

    Dead and missing cells have no regime and so no boundary.

    >>> boundaries(np.array([["I", "II-B"]])).connectivity.tolist()
    [[[0.5, -0.5], [0.5, 0.5]]]
    """
    edges = _edges(np.asarray(labels))
    parted = {True: [], False: []}
    for pair, segment in edges:
        if DEAD not in pair and MISSING not in pair and len(pair) == 2:
            parted[NOT_CONNECTED in pair].append(segment)
    return Boundaries(*(np.reshape(parted[kind], (-1, 2, 2)) for kind in (True, False)))


def _edges(labels: np.ndarray) -> list[tuple[set[str], list[list[float]]]]:
    """The labels on both sides of every inner edge, and its two ends."""
    rows, columns = labels.shape
    vertical = [
        ({str(labels[i, j]), str(labels[i, j + 1])}, [[j + 0.5, i - 0.5], [j + 0.5, i + 0.5]])
        for i in range(rows)
        for j in range(columns - 1)
    ]
    horizontal = [
        ({str(labels[i, j]), str(labels[i + 1, j])}, [[j - 0.5, i + 0.5], [j + 0.5, i + 0.5]])
        for i in range(rows - 1)
        for j in range(columns)
    ]
    return vertical + horizontal
