"""What the grid came to: one row for each mask, and grids ``[S, T, D]`` of the rows.

``S`` dense seeds; ``T`` temperatures, from the highest to the lowest; ``D`` densities, from the
lowest to the highest.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.plotting.statistics import mean_interval
from experiments.protocols.three_regime.cells import Cell, Grid
from experiments.store import Store
from ntk_prune import landscape
from ntk_prune.landscape.selection import Outcome, compare_procedures

LAST_EPOCHS = 5
"""Epochs over which the published test error of a retraining is averaged."""

Row = dict[str, Any]


def collect(grid: Grid) -> dict[str, Any]:
    """The content of ``results.json``: the axes, the thresholds and the rows."""
    c = grid.config
    return {
        "temperature": c.temperature.name,
        "temperatures": list(c.temperature.from_hottest()),
        "densities": sorted(c.densities),
        "dense_seeds": c.dense_seeds,
        "retrain_seeds": c.retrain_seeds,
        "num_classes": grid.retraining.dataset.num_classes,
        "regimes": dataclasses.asdict(c.regimes),
        "rows": [_row(grid, cell) for cell in grid.cells()],
    }


def _row(grid: Grid, cell: Cell) -> Row:
    """Means over the retrainings, or the pairs of them, of one mask."""
    part = grid.store.within(cell.folder)
    seeds = range(grid.config.retrain_seeds)
    pairs = [part.read_json(f"pair_{a}_{b}.json") for a, b in grid.pairs()]
    lines, alike = ([pair[kind] for pair in pairs] for kind in ("connectivity", "similarity"))
    ends = [line["train/error"][end] for line in lines for end in (0, -1)]
    row: Row = {
        **cell._asdict(),
        "weights_kept": part.read_json("pruning.json")["kept"],
        "dense_error": _dense_error(grid, cell),
        "test_error": float(np.mean([_last_error(part.within(f"retrain_{r}")) for r in seeds])),
        "train_error": float(np.mean(ends)),
        "lmc": _mean(lines, "lmc"),
        "lmc_clipped": float(np.mean([min(line["lmc"], 0.0) for line in lines])),
        **{name.replace("/", "_"): _mean(lines, name) for name in lines[0] if "barrier" in name},
        "cka": _mean([a["train"] for a in alike], "cka"),
        "cka_unbiased": _mean([a["train"] for a in alike], "cka/unbiased"),
        "agreement": _mean([a["test"] for a in alike], "agreement"),
        "jensen_shannon": _mean([a["test"] for a in alike], "jensen_shannon"),
    }
    if "hessian" in pairs[0]:
        ends = [end for pair in pairs for end in pair["hessian"]]
        row |= {"hessian_top": _mean(ends, "top"), "hessian_trace": _mean(ends, "trace")}
    if "ntk" in pairs[0]:
        ntks = [pair["ntk"] for pair in pairs]
        row["ntk_distance"] = _mean(ntks, "relative_distance")
        row["ntk_overlap"] = _mean(ntks, "eigenspace/overlap")
    return row


def _mean(values: Iterable[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([value[name] for value in values]))


def _last_error(part: Store) -> float:
    """The published test error of a training: the mean over its last epochs."""
    accuracies = [value for step, value in part.logged("test/accuracy") if step > 0]
    return 1 - float(np.mean(accuracies[-LAST_EPOCHS:]))


def _dense_error(grid: Grid, cell: Cell) -> float:
    """The test error of the dense network when its training was stopped."""
    part = grid.dense_folder(cell.temperature, cell.dense_seed)
    accuracies = dict(part.logged("test/accuracy"))
    if grid.config.temperature.name == "stopping_epoch":
        step = grid.dense["all"].steps(f"{cell.temperature}ep")
        return 1 - accuracies[step]
    return 1 - accuracies[max(accuracies)]


def grid_of(results: Mapping[str, Any], name: str) -> np.ndarray:
    """``[S, T, D]`` of one number of the rows; nan where a mask has none."""
    temperatures, densities = results["temperatures"], results["densities"]
    values = np.full((results["dense_seeds"], len(temperatures), len(densities)), np.nan)
    for row in results["rows"]:
        place = (
            row["dense_seed"],
            temperatures.index(row["temperature"]),
            densities.index(row["density"]),
        )
        values[place] = row.get(name, np.nan)
    return values


class CellMeans(NamedTuple):
    """Mean, Student-t half width (nan for one seed) and ``n`` over dense seeds, ``[T, D]``."""

    mean: np.ndarray
    half_width: np.ndarray
    n: np.ndarray


def over_seeds(values: np.ndarray) -> CellMeans:
    """Mean and 95 % interval over the first axis of ``values [S, T, D]``, nan left out."""
    shape = values.shape[1:]
    means = CellMeans(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, int))
    for cell in np.ndindex(shape):
        known = values[:, *cell][np.isfinite(values[:, *cell])]
        if known.size:
            mean, half_width, n = mean_interval(known)
            means.mean[cell], means.n[cell] = mean, n
            means.half_width[cell] = np.nan if half_width is None else half_width
    return means


def is_dead(results: Mapping[str, Any], **thresholds: float | None) -> np.ndarray:
    """``[S, T, D]``: which masks have retrainings that hardly do better than guessing."""
    share = {**results["regimes"], **thresholds}["dead"]
    return landscape.dead_cells(grid_of(results, "train_error"), results["num_classes"], share)


def living(results: Mapping[str, Any], name: str, **thresholds: float | None) -> np.ndarray:
    """``grid_of`` with nan for dead masks: connected and similar, they have learnt nothing."""
    return np.where(is_dead(results, **thresholds), np.nan, grid_of(results, name))


def regimes_of(results: Mapping[str, Any], **thresholds: float | None) -> landscape.Regimes:
    """The regime of every cell by its means over the seeds whose masks are not dead; a cell of dead
    masks alone has none.

    ``thresholds``: ``connectivity``, ``similarity`` and ``dead`` in place of the run's own.
    """
    cuts = {**results["regimes"], **thresholds}
    lmc, cka = (
        over_seeds(living(results, name, **thresholds)).mean for name in ("lmc_clipped", "cka")
    )
    return landscape.classify(
        lmc,
        cka,
        connectivity=cuts["connectivity"],
        similarity=cuts["similarity"],
        dead=is_dead(results, **thresholds).all(0),
    )


def procedures_of(results: Mapping[str, Any], **thresholds: float | None) -> dict[str, Outcome]:
    """The reconstructed procedures beside fixed temperatures, seed by seed.

    They pass over dead masks, but where all masks of a seed and density are dead.
    """
    cuts = {**results["regimes"], **thresholds}
    error, lmc, cka, dense = (
        grid_of(results, name) for name in ("test_error", "lmc_clipped", "cka", "dense_error")
    )
    dead = is_dead(results, **thresholds)
    lmc = np.where(dead & ~dead.all(1, keepdims=True), np.nan, lmc)
    return compare_procedures(error, lmc, cka, dense[:, :, 0], cuts["connectivity"])
