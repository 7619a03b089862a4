"""Dense networks, masks, retrainings, measures: every cell of the grid, each stage done once."""

from collections.abc import Iterator
from typing import Any

from experiments import factories
from experiments.observers import kernel_costs
from experiments.protocols.three_regime import results
from experiments.protocols.three_regime.cells import Grid
from experiments.protocols.three_regime.config import ThreeRegime
from experiments.store import Store


def three_regime(config: ThreeRegime, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed or smaller run stopped."""
    grid = Grid(config, store)
    with store.claimed():
        grid.train_dense()
        grid.prune()
        grid.retrain()
        grid.measure()
        collected = results.collect(grid)
        store.write_json("results.json", collected)
        draw_figures(store, collected)
        store.finish(summary(collected))
        print(f"{store.path}: {len(collected['rows'])} masks measured", flush=True)


def costs(config: ThreeRegime) -> Iterator[str]:
    """What the kernels of two retrainings of every mask will cost, each."""
    if config.measure.kernel_images > 0:
        recipe, images = factories.Recipe(config.retraining()), config.measure.kernel_images
        yield from kernel_costs(recipe.model, recipe.example, images, config.densities)


def summary(collected: dict[str, Any]) -> dict[str, Any]:
    """What ``DONE`` says: how many masks lie in every regime, and the cuts."""
    regimes = results.regimes_of(collected)
    labels = regimes.labels.ravel().tolist()
    return {
        "cells": {label: labels.count(label) for label in sorted(set(labels))},
        "connectivity": regimes.connectivity,
        "similarity": regimes.similarity,
        "n": collected["dense_seeds"],
    }


def draw_figures(store: Store, collected: dict[str, Any]) -> None:
    """The grids as PNG in the run directory."""
    from experiments.plotting.saving import save  # matplotlib is only needed here
    from experiments.protocols.three_regime import figures

    for name, figure in figures.all_of(collected).items():
        save(figure, store.path / name)
