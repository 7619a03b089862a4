"""Iterative pruning with rewinding: train, prune, rewind, level after level."""

import time

import jax

from experiments import factories
from experiments.driver import Keep, TrainingJob, train_all
from experiments.errors import UserError, user_errors
from experiments.factories import Recipe
from experiments.protocols.lottery.branch import check_inside, run_inside
from experiments.protocols.lottery.config import Lottery
from experiments.protocols.lottery.pretraining import Pretraining, initial, pretraining
from experiments.protocols.lottery.results import draw_figures, goal, log_levels, rows, summary
from experiments.protocols.lottery.tickets import Tickets
from experiments.pruning import write_mask
from experiments.store import Store
from ntk_prune import lottery as levels
from ntk_prune import masks, progress
from ntk_prune.rng import stream
from ntk_prune.training import TrainState


def lottery(config: Lottery, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    tickets = Tickets(config, store, Recipe(config))
    check(tickets)
    check_inside(config, tickets.recipe)
    before = pretraining(tickets)
    with store.claimed():
        if before is not None:
            before.train()
        with progress.whole(config.levels + 1, "lottery", "level") as bar:
            for level in range(config.levels + 1):
                train_level(tickets, level, before)
                bar.update()
        results = rows("tickets", tickets, range(config.levels + 1), goal(tickets))
        for name in config.branches:
            results += run_inside(tickets, name)
        store.write_json("results.json", {"rows": results})
        draw_figures(store, results)
        store.finish(summary(results))


def check(tickets: Tickets) -> None:
    """UserError for a criterion or a rewind step that cannot be."""
    recipe, config = tickets.recipe, tickets.config
    with user_errors("strategy"):
        factories.check_paths(tickets.pruner, recipe.model, recipe.example)
    for replicate in range(config.replicates):
        tickets.batches(replicate)
    rewind, end = recipe.steps(config.rewind), recipe.steps(config.train.duration)
    if rewind >= end:
        raise UserError(f"rewind: {config.rewind} is step {rewind} of a training of {end} steps")
    check_something_is_left(tickets)


def check_something_is_left(tickets: Tickets) -> None:
    """UserError if the last level rounds to no weights at all."""
    recipe, config = tickets.recipe, tickets.config
    params, _ = recipe.shapes
    sizes = [kernel.size for _, kernel in masks.leaves(params)]
    counted = sizes if tickets.pruner.scope in ("layer", "uniform") else [sum(sizes)]
    density = levels.level_density(config.strategy.fraction, config.levels)
    if not any(round(density * size) for size in counted):
        raise UserError(
            f"levels: level {config.levels} would keep none of {sum(sizes)} weights; take fewer "
            f"levels or a smaller strategy.fraction than {config.strategy.fraction:g}"
        )


def train_level(tickets: Tickets, level: int, before: Pretraining | None) -> None:
    """Find the masks of a level and train its networks, as far as that is not done yet."""
    config, recipe = tickets.config, tickets.recipe
    jobs = []
    for replicate in range(config.replicates):
        part, seed = tickets.part(replicate, level), tickets.seed(replicate)
        if level > 0 and not part.has("mask.safetensors"):
            find_mask(tickets, replicate, level)

        def start(replicate=replicate, part=part) -> TrainState:
            if level > 0:
                return tickets.rewound(tickets.state(replicate, 0), part.load("mask"))
            return initial(tickets, replicate, before)

        jobs.append(TrainingJob(part, seed, start))
    keep: Keep = {"rewind": "start" if level else recipe.steps(config.rewind)}
    train_all(recipe, jobs, tickets.store, f"level_{level}", keep)
    log_levels(rows("tickets", tickets, [level], None))


def find_mask(tickets: Tickets, replicate: int, level: int) -> None:
    """Prune the level before and write the mask and its table."""
    began = time.perf_counter()
    config, recipe, part = tickets.config, tickets.recipe, tickets.part(replicate, level)
    before = tickets.state(replicate, level - 1)
    params, state = (
        tickets.final(replicate, level - 1)
        if config.strategy.weights == "trained"
        else (before.params, before.model_state)
    )
    mask, info = levels.next_mask(
        jax.random.fold_in(stream(tickets.seed(replicate), "mask"), level),
        tickets.pruner,
        recipe.model,
        params,
        state,
        before.mask,
        tickets.batches(replicate),
        config.strategy.fraction,
        level,
    )
    seconds = time.perf_counter() - began
    density = levels.level_density(config.strategy.fraction, level)
    about = {"method": config.strategy.name, "level": level, "density": density}
    write_mask(part, recipe, mask, info, seconds, **about)
