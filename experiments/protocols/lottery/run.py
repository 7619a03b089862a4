"""Iterative pruning with rewinding: train, prune, rewind, level after level."""

import time

import jax

from experiments import factories
from experiments.errors import UserError, user_errors
from experiments.networks import Network, Setup, train_all
from experiments.protocols.lottery.branching import check_inside, run_inside
from experiments.protocols.lottery.config import Lottery
from experiments.protocols.lottery.pretraining import Pretraining, initial, pretraining
from experiments.protocols.lottery.tickets import (
    Tickets,
    draw_figures,
    goal,
    print_levels,
    rows,
    summary,
)
from experiments.protocols.prune_and_train.run import layer_table
from experiments.store import Store
from ntk_prune import lottery as levels
from ntk_prune import masks
from ntk_prune.rng import stream
from ntk_prune.training import TrainState


def lottery(config: Lottery, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    tickets = Tickets(config, store, Setup(config))
    check(tickets)
    check_inside(config, tickets.setup)
    before = pretraining(tickets)
    with store.claimed():
        if before is not None:
            before.train()
        for level in range(config.levels + 1):
            train_level(tickets, level, before)
        found = rows("tickets", tickets, range(config.levels + 1), goal(tickets))
        for name in config.branches:
            found += run_inside(tickets, name)
        store.write_json("results.json", {"rows": found})
        draw_figures(store, found)
        store.finish(summary(found))


def check(tickets: Tickets) -> None:
    """UserError for a criterion or a rewind step that cannot be."""
    setup, config = tickets.setup, tickets.config
    with user_errors("strategy"):
        factories.check_paths(tickets.pruner, setup.model, setup.example)
    for replicate in range(config.replicates):
        tickets.batches(replicate)
    rewind, end = setup.steps(config.rewind), setup.steps(config.train.duration)
    if rewind >= end:
        raise UserError(f"rewind: {config.rewind} is step {rewind} of a training of {end} steps")
    check_something_is_left(tickets)


def check_something_is_left(tickets: Tickets) -> None:
    """UserError if the last level rounds to no weights at all."""
    setup, config = tickets.setup, tickets.config
    params, _ = jax.eval_shape(setup.model.init, jax.random.key(0), setup.example)
    sizes = [kernel.size for _, kernel in masks.leaves(params)]
    counted = sizes if tickets.pruner.scope == "layer" else [sum(sizes)]
    density = levels.level_density(config.strategy.fraction, config.levels)
    if not any(round(density * size) for size in counted):
        raise UserError(
            f"levels: level {config.levels} would keep none of {sum(sizes)} weights; take fewer "
            f"levels or a smaller strategy.fraction than {config.strategy.fraction:g}"
        )


def train_level(tickets: Tickets, level: int, before: Pretraining | None) -> None:
    """Find the masks of a level and train its networks, as far as that is not done yet."""
    config, setup = tickets.config, tickets.setup
    networks = []
    for replicate in range(config.replicates):
        part, seed = tickets.part(replicate, level), tickets.seed(replicate)
        if level > 0 and not part.has("mask.safetensors"):
            find_mask(tickets, replicate, level)

        def start(replicate=replicate, part=part) -> TrainState:
            if level > 0:
                return tickets.rewound(tickets.state(replicate, 0), part.load("mask"))
            return initial(tickets, replicate, before)

        networks.append(Network(part, seed, start))
    keep = {setup.steps(config.rewind): "rewind"} if level == 0 else None
    train_all(setup, networks, tickets.store, f"level_{level}", keep)
    print_levels(rows("tickets", tickets, [level], None))


def find_mask(tickets: Tickets, replicate: int, level: int) -> None:
    """Prune the level before and write the mask and its table."""
    began = time.perf_counter()
    config, setup, part = tickets.config, tickets.setup, tickets.part(replicate, level)
    before = tickets.state(replicate, level - 1)
    params, state = (
        tickets.final(replicate, level - 1)
        if config.strategy.weights == "trained"
        else (before.params, before.state)
    )
    mask, info = levels.next_mask(
        jax.random.fold_in(stream(tickets.seed(replicate), "mask"), level),
        tickets.pruner,
        setup.model,
        params,
        state,
        before.mask,
        tickets.batches(replicate),
        config.strategy.fraction,
        level,
    )
    order = factories.layers_by_depth(setup.model, setup.example)
    density = levels.level_density(config.strategy.fraction, level)
    table = {"method": config.strategy.name, "level": level, "density": density}
    part.write_json("pruning.json", {**table, **layer_table(mask, info, order)})
    part.log(0, 0.0, {"prune_seconds": time.perf_counter() - began}, file="timing")
    part.save("mask", mask)
