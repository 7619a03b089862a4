"""Training on other images before level 0 of a lottery."""

import functools

import jax

from experiments import factories
from experiments.config import parse_duration
from experiments.driver import TrainingJob, train_all
from experiments.errors import UserError, user_errors
from experiments.factories import Recipe
from experiments.protocols.lottery.tickets import Tickets
from experiments.store import Store
from ntk_prune import masks
from ntk_prune.rng import derived
from ntk_prune.training import TrainState


class Pretraining:
    """Training on other images, whose weights but for the head are where level 0 begins."""

    def __init__(self, tickets: Tickets):
        self.tickets = tickets
        with user_errors("pretraining"):
            self.recipe = Recipe(tickets.config.pretrained())
        main = tickets.recipe
        self.head = factories.layers_by_depth(main.model, main.example)[-1].split("/")[0]
        self._check_shapes(main)

    def _check_shapes(self, main: Recipe) -> None:
        """UserError unless both networks have the same shapes but for the head."""
        pairs = zip(
            jax.tree_util.tree_leaves_with_path(main.shapes[0]),
            jax.tree_util.tree_leaves_with_path(self.recipe.shapes[0]),
            strict=True,
        )
        for (path, a), (_, b) in pairs:
            name = masks.name_of(path)
            if name.split("/")[0] != self.head and a.shape != b.shape:
                raise UserError(
                    f"pretraining.data: {name} would be {b.shape} there and is {a.shape}; give "
                    "both image sets one size and number of channels"
                )

    def _part(self, replicate: int) -> Store:
        return self.tickets.store.within(f"replicate_{replicate}/pretraining")

    def train(self) -> None:
        """Train, as far as that is not done yet."""
        jobs = []
        for replicate in range(self.tickets.config.replicates):
            seed = self.tickets.seed(replicate)
            start = functools.partial(self.recipe.initial, seed)
            jobs.append(TrainingJob(self._part(replicate), derived(seed, "pretraining"), start))
        train_all(self.recipe, jobs, self.tickets.store, "pretraining")

    def carried_over(self, replicate: int, fresh: TrainState) -> TrainState:
        """``fresh`` with the pretrained weights and statistics everywhere but in the head."""
        saved = self._part(replicate).load("params_final")
        return fresh._replace(
            params={**saved["params"], self.head: fresh.params[self.head]},
            model_state=saved.get("state", {}),
        )


def initial(tickets: Tickets, replicate: int, before: Pretraining | None) -> TrainState:
    """The dense network before its first step."""
    fresh = tickets.recipe.initial(tickets.seed(replicate))
    return fresh if before is None else before.carried_over(replicate, fresh)


def pretraining(tickets: Tickets) -> Pretraining | None:
    """The training before level 0, if there is any."""
    anything = parse_duration(tickets.config.pretraining.duration)[0] > 0
    return Pretraining(tickets) if anything else None
