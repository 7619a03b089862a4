"""Branches: what is done with the tickets of a lottery, by name.

A branch says what is trained, made from one level of one replicate of its parent, the ``Origin``.
It trains by the parent's recipe, from the step of its rewind point on, unless it says otherwise.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from experiments.protocols.lottery.tickets import Origin
from ntk_prune import lottery, training
from ntk_prune.lottery.controls import RandomCounts
from ntk_prune.models import MODELS
from ntk_prune.pruners.common import check_at_least, check_choice
from ntk_prune.training import TrainState


class Connection(NamedTuple):
    """The line on which networks are measured: the ticket to its copy trained by another data
    order, or to the level before; at so many points; batch norm's statistics on it."""

    between: Literal["orders", "levels"]
    points: int
    batch_norm: Literal["interpolated", "reestimated"]


class Architecture(NamedTuple):
    """A network's name in ``MODELS`` and its options."""

    name: str
    options: dict[str, Any]


def _same(parent: Architecture) -> Architecture:
    return parent


class Branch(NamedTuple):
    """What is trained.

    ``start`` makes the state that a training starts from; None trains nothing. ``adapt`` makes the
    network out of the parent's. ``first_level`` is the lowest level that this makes sense for.
    ``early`` is a duration of the dense training whose weights are needed. ``other_order``: with
    another order and augmentation of the data. ``needs_changes``: without any, it would repeat its
    parent.
    """

    start: Callable[[Origin], TrainState] | None
    adapt: Callable[[Architecture], Architecture] = _same
    first_level: int = 1
    early: str | None = None
    other_order: bool = False
    needs_changes: bool = False
    connection: Connection | None = None


def _anew(origin: Origin, params, state, mask, from_step_zero: bool = False) -> TrainState:
    """Weights without a past: moments are zero, the step is the ticket's or 0."""
    fresh = training.create(params, state, mask, origin.optimizer)
    return fresh if from_step_zero else fresh._replace(step=jnp.asarray(origin.ticket.step))


def retrain(from_step_zero: bool = False) -> Branch:
    """The ticket again, with the ``changes`` of the config.

    Args:
        from_step_zero: Start the schedule and the moments from the beginning, with the weights of
            the rewind point.
    """

    def start(origin: Origin) -> TrainState:
        ticket = origin.ticket
        if not from_step_zero:
            return ticket
        return _anew(origin, ticket.params, ticket.model_state, ticket.mask, from_step_zero=True)

    return Branch(start, first_level=0, needs_changes=True)


def randomly_prune(scope: RandomCounts = "layer") -> Branch:
    """A random mask as dense as the ticket's, on the weights of the rewind point.

    Args:
        scope: The same count in every layer; global: the same count anywhere; even: the same
            density in every layer.
    """
    check_choice(("layer", "global", "even"), scope=scope)

    def start(origin: Origin) -> TrainState:
        mask = lottery.randomly_prune(origin.key("mask"), origin.ticket.mask, scope)
        return origin.rewound(origin.rewind_point, mask)

    return Branch(start)


def randomly_reinitialise(from_step_zero: bool = False) -> Branch:
    """Newly drawn weights under the ticket's mask.

    Args:
        from_step_zero: Start the schedule from the beginning, not from the rewind step.
    """

    def start(origin: Origin) -> TrainState:
        mask = origin.ticket.mask
        params, state = lottery.randomly_reinitialise(
            origin.key("init"), origin.model, origin.example, mask
        )
        return origin.rewound(_anew(origin, params, state, mask, from_step_zero), mask)

    return Branch(start)


def _check_strategy(strategy: str | None) -> None:
    if strategy is not None:
        check_choice(lottery.STRATEGIES, strategy=strategy)


def oneshot(strategy: str | None = None) -> Branch:
    """The trained dense network pruned to the level's density in one step, then rewound.

    Args:
        strategy: The criterion; None for the parent's.
    """
    _check_strategy(strategy)

    def start(origin: Origin) -> TrainState:
        mask = origin.pruned_at_once(*origin.dense_final, strategy)
        return origin.rewound(origin.rewind_point, mask, strategy)

    return Branch(start)


def prune_early(step: str = "1ep", strategy: str | None = None) -> Branch:
    """The dense network pruned to the level's density at an early step, from which it goes on.

    Args:
        step: When, as '1ep' or '500it' of the dense training.
        strategy: The criterion; None for the parent's.
    """
    _check_strategy(strategy)

    def start(origin: Origin) -> TrainState:
        early = origin.early
        mask = origin.pruned_at_once(early.params, early.model_state, strategy)
        return origin.rewound(early, mask, strategy)

    return Branch(start, early=step)


def increase_width(factor: int = 2, noise: float = 0.01) -> Branch:
    """A wider network: every unit of the ticket is split into equal ones, which keeps its function.

    Args:
        factor: How many times wider.
        noise: Gaussian noise on the split weights, relative to their root mean square.
    """
    check_at_least(2, factor=factor)
    check_at_least(0, noise=noise)

    def start(origin: Origin) -> TrainState:
        ticket, (params, state) = origin.ticket, origin.shapes
        return _anew(
            origin,
            lottery.split_units(origin.key("init"), ticket.params, params, noise),
            lottery.widen(ticket.model_state, state),
            lottery.widen(ticket.mask, params),
        )

    return Branch(start, adapt=lambda parent: _wider(parent, factor))


def widen_mask(factor: int = 2) -> Branch:
    """The mask alone goes to a wider network, whose weights are its own.

    Args:
        factor: How many times wider.
    """
    check_at_least(2, factor=factor)

    def start(origin: Origin) -> TrainState:
        mask = lottery.widen(origin.ticket.mask, origin.shapes[0])
        params, state = lottery.randomly_reinitialise(
            origin.key("init"), origin.model, origin.example, mask
        )
        return _anew(origin, params, state, mask)

    return Branch(start, adapt=lambda parent: _wider(parent, factor))


def _wider(parent: Architecture, factor: int) -> Architecture:
    """The network with every width multiplied."""
    name, options = parent.name, dict(parent.options)
    if name == "lenet_300_100":
        name, options = "mlp", {"widths": (300, 100), **options}
    if "widths" in options:
        options["widths"] = tuple(factor * width for width in options["widths"])
    elif "width" in options:
        options["width"] *= factor
    else:
        raise ValueError(f"{name} has no width to increase")
    return Architecture(name, options)


def change_depth(
    depth: int = 32, mapping: tuple[int, ...] = (), shuffle_copies: bool = False
) -> Branch:
    """The residual blocks of the ticket repeated or left out: a CIFAR ResNet of another depth.

    Args:
        depth: Layers of the new network, 6n+2.
        mapping: For every block of a stage, the block of the old stage that it copies; empty
            repeats all but the first in turn.
        shuffle_copies: Give repeated blocks random masks of the same counts per layer.
    """
    MODELS["resnet"](depth=depth)  # refuses what is not 6n+2

    def start(origin: Origin) -> TrainState:
        # A shuffled mask keeps weights that the ticket lost, so the dense ones are copied.
        source = origin.rewind_point if shuffle_copies else origin.ticket
        key = origin.key("mask") if shuffle_copies else None
        mask = lottery.change_depth(origin.ticket.mask, depth, mapping, key)
        params = lottery.change_depth(source.params, depth, mapping)
        state = {
            k: lottery.change_depth(tree, depth, mapping) for k, tree in source.model_state.items()
        }
        deeper = _anew(origin, params, state, mask)
        return origin.rewound(deeper, mask) if shuffle_copies else deeper

    def adapt(parent: Architecture) -> Architecture:
        if parent.name != "resnet":
            raise ValueError(f"the depth is changed of CIFAR ResNets, not of {parent.name}")
        return Architecture("resnet", {**parent.options, "depth": depth})

    return Branch(start, adapt=adapt)


def linear_connectivity(
    between: Literal["orders", "levels"] = "orders",
    points: int = 11,
    batch_norm: Literal["interpolated", "reestimated"] = "interpolated",
) -> Branch:
    """The error on the line from the trained ticket to another network.

    Args:
        between: To a copy that is trained with another order of the data, or to the level before,
            for which nothing is trained.
        points: Networks on the line, both ends included.
        batch_norm: Running statistics on the line: interpolated too, or estimated anew.
    """
    check_choice(("orders", "levels"), between=between)
    check_choice(("interpolated", "reestimated"), batch_norm=batch_norm)
    check_at_least(3, points=points)
    connection = Connection(between, points, batch_norm)
    if between == "levels":
        return Branch(None, connection=connection)
    return Branch(
        lambda origin: origin.ticket, first_level=0, other_order=True, connection=connection
    )


BRANCHES: dict[str, Callable[..., Branch]] = {
    "retrain": retrain,
    "randomly_prune": randomly_prune,
    "randomly_reinitialise": randomly_reinitialise,
    "oneshot": oneshot,
    "prune_early": prune_early,
    "increase_width": increase_width,
    "widen_mask": widen_mask,
    "change_depth": change_depth,
    "linear_connectivity": linear_connectivity,
}
