"""One branch of a lottery: checked, trained, measured."""

import dataclasses
import functools

import jax

from experiments.comparison import measure_line
from experiments.config import loading
from experiments.config.options import choice, make_options
from experiments.driver import TrainingJob, train_all
from experiments.errors import UserError, user_errors
from experiments.factories import Recipe
from experiments.protocols.lottery.branch_config import BranchConfig, LotteryBranch
from experiments.protocols.lottery.branches import BRANCHES, Architecture, Branch, Connection
from experiments.protocols.lottery.config import Lottery
from experiments.protocols.lottery.pretraining import initial, pretraining
from experiments.protocols.lottery.results import Row, goal, log_levels, rows
from experiments.protocols.lottery.tickets import Origin, Tickets
from experiments.store import Store
from ntk_prune import masks, training
from ntk_prune.models import MODELS
from ntk_prune.rng import derived
from ntk_prune.training import TrainState
from ntk_prune.types import Params


def name_of(config: BranchConfig) -> str:
    """The branch with the options that are not its defaults: ``randomly_prune scope=even``."""
    defaults = vars(BranchConfig(config.name).options)
    chosen = {k: v for k, v in vars(config.options).items() if v != defaults[k]}
    return " ".join([config.name, *(f"{name}={value}" for name, value in chosen.items())])


def adapted(config: Lottery, branch: Branch) -> Lottery:
    """The parent's config with the network of the branch. ValueError where there is none."""
    parent = Architecture(config.model.name, vars(config.model.options))
    network = branch.adapt(parent)
    if network is parent:
        return config
    options = make_options(MODELS[network.name], network.options)
    model = dataclasses.replace(config.model, name=network.name, options=options, weights=None)
    return dataclasses.replace(config, model=model)


def planned(
    config: LotteryBranch, parent: Lottery, recipe: Recipe, where: str = "branch"
) -> tuple[Branch, Lottery]:
    """The branch, and what its networks are trained by. UserError for what cannot be."""
    with user_errors(where):
        branch = config.branch.make()
    if branch.needs_changes and not config.changes:
        raise UserError(f"changes: without any, {config.branch.name} would repeat its parent")
    end = parent.train.duration
    with user_errors("branch.options.step"):
        late = branch.early is not None and recipe.steps(branch.early) > recipe.steps(end)
    if late:
        raise UserError(f"branch.options.step: {branch.early} comes after {end}, the end")
    changed = loading.override(parent, config.changed())
    if changed.replicates > parent.replicates:
        raise UserError(
            f"changes: {changed.replicates} replicates of a parent that has {parent.replicates}"
        )
    with user_errors(where):
        return branch, adapted(changed, branch)


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return {masks.name_of(path): leaf.shape for path, leaf in leaves}


class Runner:
    """One branch from ``parent`` in ``store``. UserError for what does not fit together."""

    def __init__(self, parent: Tickets, config: LotteryBranch, store: Store):
        self.parent, self.config, self.store = parent, config, store
        self.label = " ".join([name_of(config.branch), *config.changes])
        self.branch, changed = planned(config, parent.config, parent.recipe)
        self.tickets = Tickets(changed, store, self._recipe(changed))
        self.levels = self._levels()
        self._check()

    def _check(self) -> None:
        """UserError for what cannot be, before anything is written."""
        if self.branch.early is not None:
            with user_errors("branch"):
                self._early_start(0)
        elif self.branch.start is not None:
            with user_errors("branch"):
                start = self._start(0, self.levels[0])
            self._check_fits(start)

    def _check_fits(self, start: TrainState) -> None:
        recipe = self.tickets.recipe
        end = recipe.steps(recipe.config.train.duration)
        if int(start.step) >= end:
            raise UserError(
                f"changes: the training ends at step {end}, and would start at step {start.step}"
            )
        expected, actual = _shapes(recipe.shapes[0]), _shapes(start.params)
        for name in [*expected, *actual]:
            if expected.get(name) != actual.get(name):
                raise UserError(
                    f"changes: {name} would be {expected.get(name)} in the changed network and is "
                    f"{actual.get(name)} in the ticket; only a network of the same shapes fits"
                )

    def _recipe(self, changed: Lottery) -> Recipe:
        same = changed == self.parent.config
        return self.parent.recipe if same else Recipe(changed)

    def _levels(self) -> list[int]:
        available = self.parent.levels()
        lowest, where = self.branch.first_level, self.parent.store.path
        chosen = sorted(set(self.config.levels)) or [x for x in available if x >= lowest]
        missing = [level for level in chosen if level not in available]
        if missing or not chosen:
            raise UserError(f"levels: {missing or chosen} of {available} in {where}")
        connection = self.branch.connection
        if connection is not None and connection.between == "levels":
            first = [level for level in chosen if level - 1 not in available]
            if first and self.config.levels:
                raise UserError(f"levels: before {first} there is none of {available} in {where}")
            chosen = [level for level in chosen if level not in first]
        return chosen

    def _start(self, replicate: int, level: int) -> TrainState:
        assert self.branch.start is not None
        salt = f"{self.config.branch.name}/{self.config.seed}"
        recipe = self.tickets.recipe
        origin = Origin(self.parent, recipe, self.store, replicate, level, salt)
        state = self.branch.start(origin)
        fresh = training.create(state.params, state.model_state, state.mask, recipe.optimizer)
        if jax.tree.structure(fresh.opt_state) == jax.tree.structure(state.opt_state):
            return state
        return fresh._replace(step=state.step)  # another update rule starts without moments

    def run(self) -> list[Row]:
        """Train and measure what is not done yet: one row for every network."""
        if self.branch.early is not None:
            self._train_early(self.branch.early)
        if self.branch.start is not None:
            self._train()
        if self.branch.connection is not None:
            self._connect(self.branch.connection)
        results = rows(self.label, self.tickets, self.levels, goal(self.parent))
        log_levels(results)
        return results

    def _train_early(self, duration: str) -> None:
        """The dense networks to the early step: from the rewind point if that comes before."""
        parent, step = self.parent, self.parent.recipe.steps(duration)
        jobs = [
            TrainingJob(
                self.store.within(f"replicate_{replicate}/early"),
                parent.seed(replicate),
                functools.partial(self._early_start, replicate),
            )
            for replicate in range(self.tickets.config.replicates)
        ]
        train_all(parent.recipe, jobs, self.store, "early", {"early": step}, step)

    def _early_start(self, replicate: int) -> TrainState:
        assert self.branch.early is not None
        rewind_point = self.parent.state(replicate, 0)
        if int(rewind_point.step) <= self.parent.recipe.steps(self.branch.early):
            return rewind_point
        return initial(self.parent, replicate, pretraining(self.parent))

    def _seed(self, replicate: int) -> int:
        seed = self.tickets.seed(replicate)
        purpose = f"other order/{self.config.seed}"
        return derived(seed, purpose) if self.branch.other_order else seed

    def _train(self) -> None:
        jobs = [
            TrainingJob(
                self.tickets.part(replicate, level),
                self._seed(replicate),
                lambda replicate=replicate, level=level: self._start(replicate, level),
            )
            for level, replicate in self.tickets.networks(self.levels)
        ]
        train_all(self.tickets.recipe, jobs, self.store, "levels", {"rewind": "start"})

    def _connect(self, connection: Connection) -> None:
        for level, replicate in self.tickets.networks(self.levels):
            part = self.tickets.part(replicate, level)
            if not part.has("connectivity.json"):
                ticket = self.parent.final(replicate, level)
                other = (
                    self.tickets.final(replicate, level)
                    if connection.between == "orders"
                    else self.parent.final(replicate, level - 1)
                )
                line = measure_line(
                    self.parent.recipe, ticket, other, connection.points, connection.batch_norm
                )
                density = self.parent.part(replicate, level).read_json("DONE")["density"]
                rewind = int(self.parent.state(replicate, level).step)
                facts = {"between": connection.between, "density": density, "rewind": rewind}
                part.write_json("connectivity.json", {**facts, **line})


def check_inside(config: Lottery, recipe: Recipe) -> None:
    """UserError for branches that cannot be run at the end of this lottery."""
    for name in config.branches:
        with user_errors("branches"):
            choice("branches", name, BRANCHES)
        if BRANCHES[name]().needs_changes:
            raise UserError(f"branches: {name} takes changes; run lottery_branch afterwards")
        branch = LotteryBranch(branch=BranchConfig(name))
        planned(branch, config, recipe, f"branches: {name}")


def run_inside(parent: Tickets, name: str) -> list[Row]:
    """The branch of that name with its default options, in a directory inside its parent's."""
    config = LotteryBranch(branch=BranchConfig(name))
    return Runner(parent, config, parent.store.within(f"branches/{name}")).run()
