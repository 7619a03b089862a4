"""Choosing the temperature of a dense network from the connectivity of its pruned ones.

RECONSTRUCTIONS: Zhou et al. (arXiv 2305.18383) name three procedures, "temperature tuning", "model
selection via LMC and test error" and "via LMC and CKA"; their pseudo-code was not at hand, and what
stands here follows from the regimes. Grids are ``[T, D]``, a row for each temperature from the
highest to the lowest and a column for each density; with seeds ``[S, T, D]``.

A nan of ``lmc`` is a cell that is missing or dead: no procedure goes there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Tuning(NamedTuple):
    """The ``row`` that temperature tuning ends at and the ``path`` of rows it measures."""

    row: int
    path: list[int]


class SeedMean(NamedTuple):
    """The mean over ``n`` dense seeds and its standard error, None for a single seed."""

    mean: float
    sem: float | None
    n: int


class Outcome(NamedTuple):
    """What a procedure chooses and what that costs.

    Attributes:
        rows: ``[S, D]``, the temperature for each seed and density.
        regret: Error above that of the best temperature of each density, the mean over densities.
        worst: The largest mean over seeds of that, over the densities.
        over_fixed: Error above that of the best fixed temperature, the mean over densities; its
            standard error is that of the paired differences.
    """

    rows: np.ndarray
    regret: SeedMean
    worst: float
    over_fixed: SeedMean


def direction(lmc: ArrayLike, cut: float = 0.1) -> np.ndarray:
    """+1 to raise the temperature where ``lmc < -cut`` (regime I), else -1; 0 where it is nan.

    >>> direction([-0.4, -0.02]).tolist()
    [1, -1]
    """
    values = np.asarray(lmc, np.float64)
    return np.select([values < -cut, values >= -cut], [1, -1], 0)


def tune(lmc: ArrayLike, start: int, cut: float = 0.1) -> Tuning:
    """Temperature tuning at one density, from row ``start`` of ``lmc [T]``.

    One row up while ``direction`` says to raise the temperature, one down while it says to lower
    it, until the next row has been measured or lies outside. It ends at the last connected row of
    its path; where there is none, at the last row.

    Raises ValueError for a start that is not a measured row.

    >>> tune([0.0, -0.01, -0.3, -0.5], start=3)
    Tuning(row=1, path=[3, 2, 1])
    """
    steps = -direction(lmc, cut)  # a higher temperature is a lower row
    if not 0 <= start < len(steps) or not steps[start]:
        raise ValueError(f"tuning starts at a measured row of {len(steps)}, got {start}")
    path = [start]
    following = start + steps[start]
    while 0 <= following < len(steps) and steps[following] and following not in path:
        path.append(int(following))
        following += steps[following]
    connected = [row for row in path if steps[row] == 1]
    return Tuning((connected or path)[-1], path)


def select_by_connectivity(
    lmc: ArrayLike, dense_error: ArrayLike | None = None, cut: float = 0.1
) -> np.ndarray:
    """Rows ``[D]``: of the connected ones that with the least test error of the dense network.

    Without ``dense_error [T]`` it is the lowest temperature. Where none is connected, the row of
    the largest ``lmc [T, D]``. Raises ValueError for a density without a measured cell.
    """
    rows = np.arange(np.shape(lmc)[0])
    worth = rows if dense_error is None else -np.asarray(dense_error, np.float64)
    return _best_connected(lmc, np.broadcast_to(worth[:, None], np.shape(lmc)), cut)


def select_by_similarity(lmc: ArrayLike, cka: ArrayLike, cut: float = 0.1) -> np.ndarray:
    """Rows ``[D]``: of the connected ones that with the largest ``cka [T, D]``.

    Of equal ones the highest temperature. Where none is connected, the row of the largest
    ``lmc [T, D]``. Raises ValueError for a density without a measured cell.
    """
    return _best_connected(lmc, cka, cut)


def _best_connected(lmc: ArrayLike, worth: ArrayLike, cut: float) -> np.ndarray:
    """The row of the largest ``worth`` in each column, among the connected if there are any."""
    lmc, worth = np.asarray(lmc, np.float64), np.asarray(worth, np.float64)
    _check_measured(lmc)
    connected = (lmc >= -cut) & ~np.isnan(worth)
    chosen = np.where(connected, worth, -np.inf).argmax(0)
    return np.where(connected.any(0), chosen, np.nan_to_num(lmc, nan=-np.inf).argmax(0))


def _check_measured(lmc: np.ndarray) -> None:
    unmeasured = np.isnan(lmc).all(0)
    if unmeasured.any():
        raise ValueError(f"no measured cell in column {int(unmeasured.argmax())} of the grid")


def regret(error: ArrayLike, rows: ArrayLike) -> np.ndarray:
    """``error[rows[d], d] - min_t error[t, d]`` of ``error [T, D]``, ``[D]``.

    >>> regret(np.array([[0.25, 0.5], [0.75, 0.25]]), [0, 0]).tolist()
    [0.0, 0.25]
    """
    error = np.asarray(error, np.float64)
    return error[np.asarray(rows), np.arange(error.shape[1])] - np.nanmin(error, 0)


def right_directions(
    error: ArrayLike, lmc: ArrayLike, cut: float = 0.1, tolerance: float = 0.0
) -> tuple[int, int]:
    """``(right, total)``: in how many cells ``direction`` leads to the best row of their column.

    Of ``error [T, D]``, over the measured cells that are more than ``tolerance`` worse than the
    best one, the first of equal ones.
    """
    error = np.asarray(error, np.float64)
    above = error - np.nanmin(error, 0)
    towards = np.sign(np.arange(len(error))[:, None] - np.nanargmin(error, 0)[None])
    chosen = direction(lmc, cut)
    counted = (above > tolerance) & (chosen != 0)
    return int((counted & (chosen == towards)).sum()), int(counted.sum())


def compare_procedures(
    error: ArrayLike,
    lmc: ArrayLike,
    cka: ArrayLike,
    dense_error: ArrayLike | None = None,
    cut: float = 0.1,
) -> dict[str, Outcome]:
    """The three procedures beside two fixed temperatures, seed by seed.

    The best temperature of a density and the best fixed one are those with the least mean error
    over seeds (and densities): hindsight, which no procedure has. Tuning starts at the lowest.

    Args:
        error: Test error of the retrained networks ``[S, T, D]``.
        lmc: Published connectivity ``[S, T, D]``.
        cka: Similarity of the outputs ``[S, T, D]``.
        dense_error: Test error of the dense networks ``[S, T]``; see ``select_by_connectivity``.
        cut: A cell is connected from ``lmc = -cut`` up.

    Raises ValueError for grids that differ in shape or an ``error`` that is not finite.
    """
    error, lmc, cka = (np.asarray(grid, np.float64) for grid in (error, lmc, cka))
    if error.ndim != 3 or not error.shape == lmc.shape == cka.shape:
        raise ValueError(f"grids [S, T, D] differ: {error.shape}, {lmc.shape} and {cka.shape}")
    if not np.isfinite(error).all():
        raise ValueError("procedures are compared on a whole grid: an error is missing")
    seeds, temperatures, densities = error.shape
    dense = [None] * seeds if dense_error is None else np.asarray(dense_error, np.float64)
    fixed = int(error.mean((0, 2)).argmin())
    chosen = {
        "temperature tuning": [_tune_all(grid, cut) for grid in lmc],
        "selection by connectivity": [
            select_by_connectivity(grid, d, cut) for grid, d in zip(lmc, dense, strict=True)
        ],
        "selection by connectivity and CKA": [
            select_by_similarity(*grids, cut) for grids in zip(lmc, cka, strict=True)
        ],
        "lowest temperature": np.full((seeds, densities), temperatures - 1),
        "best fixed temperature": np.full((seeds, densities), fixed),
    }
    best = error.mean(0).argmin(0)
    return {name: _outcome(error, np.asarray(rows), best, fixed) for name, rows in chosen.items()}


def _tune_all(lmc: np.ndarray, cut: float) -> list[int]:
    """The rows ``[D]`` that tuning ends at from the lowest measured temperature."""
    _check_measured(lmc)
    return [tune(column, np.flatnonzero(~np.isnan(column))[-1], cut).row for column in lmc.T]


def _outcome(error: np.ndarray, rows: np.ndarray, best: np.ndarray, fixed: int) -> Outcome:
    columns = np.arange(error.shape[2])
    achieved = np.take_along_axis(error, rows[:, None], 1)[:, 0]
    above = achieved - error[:, best, columns]
    over_fixed = achieved - error[:, fixed]
    return Outcome(
        rows,
        seed_mean(above.mean(1)),
        float(above.mean(0).max()),
        seed_mean(over_fixed.mean(1)),
    )


def seed_mean(values: ArrayLike) -> SeedMean:
    """Mean and standard error of one value for each seed.

    >>> seed_mean([1.0, 3.0])
    SeedMean(mean=2.0, sem=1.0, n=2)
    """
    x = np.asarray(values, np.float64)
    sem = float(x.std(ddof=1) / np.sqrt(x.size)) if x.size > 1 else None
    return SeedMean(float(x.mean()), sem, x.size)
