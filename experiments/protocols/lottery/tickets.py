"""The levels of a lottery in its run directory, and what a branch starts from.

replicate_0/pretraining/    the network before level 0, where there is pretraining
replicate_0/level_3/        mask, rewind (the state that its training starts from),
                            params_final, pruning.json, metrics.jsonl, DONE
"""

import functools
import zlib
from collections.abc import Iterator, Sequence

import jax

from experiments import factories
from experiments.driver import load_state
from experiments.errors import UserError, user_errors
from experiments.factories import Recipe
from experiments.protocols.lottery.config import Lottery
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
        self.pruner: Pruner = config.strategy.make()

    def seed(self, replicate: int) -> int:
        """The seed of a replicate."""
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
        if not part.is_finished():
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


class Origin:
    """What a branch starts from: one level of one replicate of a lottery, and the network that is
    made from it. What is read from the parent's directory is read when it is asked for.

    Args:
        parent: The lottery, or a branch of one.
        recipe: The branch's own: network, example, optimiser.
        store: The branch's directory.
        replicate: Which network of the parent.
        level: Which of its levels.
        salt: Tells the branch's random keys from those of other branches.
    """

    def __init__(
        self, parent: Tickets, recipe: Recipe, store: Store, replicate: int, level: int, salt: str
    ):
        self.parent, self.replicate, self.level = parent, replicate, level
        self.model, self.example, self.optimizer = recipe.model, recipe.example, recipe.optimizer
        self.shapes = recipe.shapes
        self._store, self._salt = store, salt

    def key(self, name: str) -> Key:
        """A key of the stream ``name`` that no other level, branch or replicate has."""
        key = stream(self.parent.seed(self.replicate), name)
        key = jax.random.fold_in(key, zlib.crc32(self._salt.encode()))
        return jax.random.fold_in(key, self.level)

    @functools.cached_property
    def ticket(self) -> TrainState:
        """The ticket before its training."""
        return self.parent.state(self.replicate, self.level)

    @functools.cached_property
    def rewind_point(self) -> TrainState:
        """The dense network at the rewind step."""
        return self.parent.state(self.replicate, 0)

    @functools.cached_property
    def dense_final(self) -> tuple[Params, State]:
        """The trained dense network."""
        return self.parent.final(self.replicate, 0)

    @functools.cached_property
    def early(self) -> TrainState:
        """The dense network at the branch's early step."""
        store = self._store.within(f"replicate_{self.replicate}/early")
        return load_state(store, "early", store.load("mask"), self.parent.recipe.optimizer)

    def rewound(self, state: TrainState, mask: Mask, strategy: str | None = None) -> TrainState:
        """``state`` under ``mask``, rescaled where the strategy, or the parent's, says so."""
        return self.parent.rewound(state, mask, strategy)

    def pruned_at_once(self, params: Params, state: State, strategy: str | None) -> Mask:
        """A mask as dense as the ticket's for a dense network, by the parent's or another
        strategy."""
        pruner = self.parent.pruner if strategy is None else lottery.STRATEGIES[strategy]()
        return prune(
            self.key("mask"),
            pruner,
            self.parent.recipe.model,
            params,
            state,
            masks.ones_like(params),
            self.parent.batches(self.replicate),
            masks.density(self.ticket.mask),
        )[0]
