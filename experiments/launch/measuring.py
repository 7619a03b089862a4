"""What the trainings of a sweep take on this machine, by a few steps of each."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from experiments.errors import UserError
from experiments.factories import Recipe
from experiments.launch.cells import Cell
from ntk_prune import training

STEPS = 10


class Kind(NamedTuple):
    """A training that cells have in common: its config, its first seed, how many networks."""

    source: str
    config: Any
    seed: int
    networks: int


def measured(cells: Sequence[Cell], workers: int) -> Iterator[str]:
    """A line for each kind of training in the cells, then one for all of them.

    Pruning, evaluations and other measures come on top. UserError where data are missing, or where
    the configs of no cell say what is trained; those of some are named.
    """
    silent = [cell for cell in cells if not cell.config.trainings()]
    unknown = "configs of {} do not say what they train"
    protocols = ", ".join(dict.fromkeys(cell.config.protocol for cell in silent))
    if silent and len(silent) == len(cells):
        raise UserError(f"--measure: {unknown.format(protocols)}")
    total = 0.0
    for kind in _kinds(cells):
        recipe = Recipe(kind.config)
        rate = _images_per_second(recipe, kind.seed)
        images = recipe.num_steps * recipe.config.train.batch_size * kind.networks
        total += images / rate
        yield (
            f"{kind.networks} networks of {kind.source}: {rate:.0f} images/s, "
            f"{tqdm.format_interval(images / rate)} of training"
        )
    if silent:
        yield f"{len(silent)} cells not measured: {unknown.format(protocols)}"
    whole, shared = (tqdm.format_interval(seconds) for seconds in (total, total / workers))
    yield (
        f"{whole} of training in all, {shared} with {workers} at a time, by {STEPS} steps on "
        f"{jax.devices()[0].device_kind}; pruning and evaluations come on top"
    )


def _kinds(cells: Iterable[Cell]) -> list[Kind]:
    """The trainings of all cells; those with network, data and training in common are one."""
    kinds: dict[tuple[str, str], Kind] = {}
    for cell in cells:
        for config, networks in cell.config.trainings():
            key = cell.source, repr([config.model, config.data, config.train])
            kind = kinds.get(key, Kind(cell.source, config, cell.config.seed, 0))
            kinds[key] = kind._replace(networks=kind.networks + networks)
    return list(kinds.values())


def _images_per_second(recipe: Recipe, seed: int) -> float:
    """The rate of one dense network once its step is compiled; masks make no step faster."""
    program, state, rate = recipe.program((seed,)), recipe.initial(seed), 0.0
    for stop in (STEPS, 2 * STEPS):
        for epoch in training.fit(state, program.step, program.feed, stop, recipe.learning_rate):
            state, rate = epoch.state, epoch.images_per_second
    return rate
