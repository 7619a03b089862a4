"""What the trainings of a sweep take on this machine, by a few steps of each."""

from collections.abc import Iterator, Sequence

import jax
from tqdm import tqdm

from experiments.config import Replicated
from experiments.factories import Recipe
from experiments.launch.cells import Cell
from ntk_prune import training

STEPS = 10


def measured(cells: Sequence[Cell], workers: int) -> Iterator[str]:
    """A line for each kind of training in the cells, then one for all of them.

    Pruning, evaluations and other measures come on top. Workflows whose networks do not share one
    training (``train``) are named and left out. UserError where data are missing.
    """
    total = 0.0
    for group in _by_training(cells):
        of = f"{len(group)} cells of {group[0].source}"
        if not hasattr(group[0].config, "train"):
            yield f"{of}: not measured, {group[0].config.protocol} has several trainings"
            continue
        recipe = Recipe(group[0].config)  # pyright: ignore[reportArgumentType]
        rate = _images_per_second(recipe, group[0].config.seed)
        images = recipe.num_steps * recipe.config.train.batch_size * sum(map(_networks, group))
        total += images / rate
        yield f"{of}: {rate:.0f} images/s, {tqdm.format_interval(images / rate)} of training"
    whole, shared = (tqdm.format_interval(seconds) for seconds in (total, total / workers))
    yield (
        f"{whole} of training in all, {shared} with {workers} at a time, by {STEPS} steps on "
        f"{jax.devices()[0].device_kind}; pruning and evaluations come on top"
    )


def _by_training(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells that have network, data and training in common."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        parts = [getattr(cell.config, name, None) for name in ("model", "data", "train")]
        groups.setdefault(repr([cell.config.protocol, *parts]), []).append(cell)
    return list(groups.values())


def _networks(cell: Cell) -> int:
    return cell.config.replicates if isinstance(cell.config, Replicated) else 1


def _images_per_second(recipe: Recipe, seed: int) -> float:
    """The rate of one dense network once its step is compiled; masks make no step faster."""
    program, state, rate = recipe.program((seed,)), recipe.initial(seed), 0.0
    for stop in (STEPS, 2 * STEPS):
        for epoch in training.fit(state, program.step, program.feed, stop, recipe.learning_rate):
            state, rate = epoch.state, epoch.images_per_second
    return rate
