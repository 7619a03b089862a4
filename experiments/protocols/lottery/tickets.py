"""The levels of a lottery in its run directory, and what a branch starts from.

replicate_0/pretraining/    the network before level 0, where there is pretraining
replicate_0/level_3/        mask, rewind (the state that its training starts from),
                            params_final, pruning.json, metrics.jsonl, DONE
"""

import functools
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from experiments import factories
from experiments.driver import load_state
from experiments.errors import UserError, user_errors
from experiments.factories import Recipe
from experiments.protocols.lottery.config import Lottery
from experiments.protocols.lottery.origin import Origin
from experiments.store import Store
from ntk_prune import lottery, masks
from ntk_prune.pruners import prune
from ntk_prune.rng import stream
from ntk_prune.training import TrainState
from ntk_prune.types import Batch, Key, Mask, Params, Pruner, State


class Tickets:
    """The trained levels of every replicate under ``store``, made by ``recipe``."""

    def __init__(self, config: Lottery, store: Store, recipe: Recipe):
        self.config, self.store, self.recipe = config, store, recipe
        strategy = config.strategy
        self.pruner: Pruner = lottery.STRATEGIES[strategy.name](**vars(strategy.options))

    def seed(self, replicate: int) -> int:
        """Of a replicate."""
        return self.config.seed + replicate

    def part(self, replicate: int, level: int) -> Store:
        """The directory of a level."""
        return self.store.within(f"replicate_{replicate}/level_{level}")

    def levels(self) -> list[int]:
        """The levels that are there, of the first replicate."""
        paths = (self.store.path / "replicate_0").glob("level_*/DONE")
        return sorted(int(path.parent.name.removeprefix("level_")) for path in paths)

    def networks(self, levels: Sequence[int]) -> Iterator[tuple[int, int]]:
        """``(level, replicate)`` of all networks, level by level."""
        for level in levels:
            for replicate in range(self.config.replicates):
                yield level, replicate

    @functools.cache  # noqa: B019 (a handful of them, as long as the run)
    def batches(self, replicate: int) -> Batch:
        """What the criterion sees."""
        recipe = self.recipe
        return factories.score_batches(
            self.config.strategy, self.config.data, self.seed(replicate), recipe.dataset
        )

    def _trained(self, replicate: int, level: int) -> Store:
        part = self.part(replicate, level)
        if not part.has("DONE"):
            raise UserError(
                f"level {level} of replicate {replicate} is not in {self.store.path}, "
                f"which has the levels {self.levels()}"
            )
        return part

    def state(self, replicate: int, level: int) -> TrainState:
        """What the training of a level starts from. That of level 0 is the rewind point.

        UserError where the level is not there.
        """
        part = self._trained(replicate, level)
        with user_errors(str(part.path)):
            return load_state(part, "rewind", part.load("mask"), self.recipe.optimizer)

    def final(self, replicate: int, level: int) -> tuple[Params, State]:
        """The trained weights of a level and their running statistics. UserError as ``state``."""
        part = self._trained(replicate, level)
        with user_errors(str(part.path)):
            saved = part.load("params_final")
        return saved["params"], saved.get("state", {})

    def rewound(self, state: TrainState, mask: Mask, strategy: str | None = None) -> TrainState:
        """``state`` under ``mask``, rescaled where the strategy, or the config's, says so."""
        state = lottery.rewind(state, mask)
        if (strategy or self.config.strategy.name) not in lottery.RESCALING:
            return state
        return state._replace(params=lottery.rescale(state.params, masks.density(mask)))


class Level(Origin):
    """The ``Origin`` of a branch, read from the parent's directory when it is asked for."""

    def __init__(
        self, parent: Tickets, recipe: Recipe, store: Store, replicate: int, level: int, salt: str
    ):
        self.parent, self.replicate, self.level = parent, replicate, level
        self._recipe = recipe
        self.model, self.example, self.optimizer = recipe.model, recipe.example, recipe.optimizer
        self._store, self._salt = store, salt

    def key(self, name: str) -> Key:
        key = stream(self.parent.seed(self.replicate), name)
        key = jax.random.fold_in(key, zlib.crc32(self._salt.encode()))
        return jax.random.fold_in(key, self.level)

    @functools.cached_property
    def ticket(self) -> TrainState:
        return self.parent.state(self.replicate, self.level)

    @functools.cached_property
    def rewind_point(self) -> TrainState:
        return self.parent.state(self.replicate, 0)

    @functools.cached_property
    def dense_final(self) -> tuple[Params, State]:
        return self.parent.final(self.replicate, 0)

    @functools.cached_property
    def shapes(self) -> tuple[Params, State]:
        return self._recipe.shapes

    @functools.cached_property
    def early(self) -> TrainState:
        store = self._store.within(f"replicate_{self.replicate}/early")
        return load_state(store, "early", store.load("mask"), self.parent.recipe.optimizer)

    def rewound(self, state: TrainState, mask: Mask, strategy: str | None = None) -> TrainState:
        return self.parent.rewound(state, mask, strategy)

    def pruned_at_once(self, params: Params, state: State, strategy: str | None) -> Mask:
        pruner = self.parent.pruner if strategy is None else lottery.STRATEGIES[strategy]()
        mask = masks.ones_like(params)
        batches = self.parent.batches(self.replicate)
        density = masks.density(self.ticket.mask)
        model = self.parent.recipe.model
        key = self.key("mask")
        return prune(key, pruner, model, params, state, mask, batches, density)[0]


Row = dict[str, Any]
"""One network in ``results.json``: curve, replicate, level, and the final numbers."""


def rows(curve: str, tickets: Tickets, levels: Sequence[int], goal: float | None) -> list[Row]:
    """What these networks came to, and when their test loss first reached ``goal``."""
    found = []
    for level, replicate in tickets.networks(levels):
        part = tickets.part(replicate, level)
        row: Row = {"curve": curve, "replicate": replicate, "level": level}
        if part.has("connectivity.json"):
            line = part.read_json("connectivity.json")
            row |= {key: line[key] for key in ("density", "barrier", "t", "test/error")}
            row |= {"rewind": line["rewind"]} if line["between"] == "orders" else {}
        if part.has("DONE"):
            row |= part.read_json("DONE")
            fast = [step for step, loss in part.logged("test/loss") if loss <= (goal or 0)]
            row |= {"learnt/step": fast[0]} if fast else {}
        found.append(row)
    return found


def print_levels(found: Sequence[Row]) -> None:
    """One line for each level: what is kept and what the replicates reach."""
    for level in dict.fromkeys(row["level"] for row in found):
        here = [row for row in found if row["level"] == level]
        reached = [
            f"{name.replace('/', ' ')} {' '.join(f'{row[name]:.4f}' for row in here)}"
            for name in ("test/accuracy", "barrier")
            if name in here[0]
        ]
        kept = f"{here[0]['density']:.4%} kept"
        print(f"{here[0]['curve']}, level {level}:", ", ".join([kept, *reached]), flush=True)


def goal(tickets: Tickets) -> float | None:
    """Twice the least test loss of the dense networks, the mean over replicates: what a network
    that learns reaches sooner or later. None where there are no dense networks."""
    if 0 not in tickets.levels():
        return None
    dense = [tickets.part(r, 0).logged("test/loss") for r in range(tickets.config.replicates)]
    return 2 * float(np.mean([min(loss for _, loss in losses) for losses in dense]))


def summary(found: Sequence[Row]) -> dict[str, Any]:
    """Means over the replicates of the last level of every curve, for ``DONE``."""
    last = {row["curve"]: row["level"] for row in found}
    result = {}
    for curve, level in last.items():
        here = [row for row in found if (row["curve"], row["level"]) == (curve, level)]
        for name in ("density", "test/accuracy", "early_stop/step", "learnt/step", "barrier"):
            values = [row[name] for row in here if name in row]
            if values:
                result.setdefault(curve, {"level": level})[name] = sum(values) / len(values)
    return result


def draw_figures(store: Store, found: Sequence[Row]) -> None:
    """The curves of these rows as PNG in the run directory."""
    # matplotlib and pandas are only needed here
    from experiments.protocols.lottery import figures

    figures.draw(found, store.path)
