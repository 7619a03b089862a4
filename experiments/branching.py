"""One branch of a lottery: checked, trained, measured."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build, cli
from experiments.branches import BRANCHES, Architecture, Branch, Connection
from experiments.config import BranchConfig, Lottery, LotteryBranch
from experiments.errors import UserError, user_errors
from experiments.networks import Network, Setup, train_all
from experiments.options import make_options
from experiments.pretraining import initial, pretraining
from experiments.store import Store
from experiments.tickets import Level, Row, Tickets, goal, rows
from ntk_prune import landscape, training
from ntk_prune.models import MODELS
from ntk_prune.streams import derived
from ntk_prune.training import TrainState
from ntk_prune.types import Array, Params, State


def name_of(config: BranchConfig) -> str:
    """The branch with the options that are not its defaults: ``randomly_prune scope=even``."""
    defaults = vars(BranchConfig(config.name).options)
    chosen = {k: v for k, v in vars(config.options).items() if v != defaults[k]}
    return " ".join([config.name, *(f"{name}={value}" for name, value in chosen.items())])


def adapted(config: Lottery, branch: Branch) -> Lottery:
    """The parent's config with the network of the branch. ValueError where there is none."""
    parent = Architecture(config.model.name, vars(config.model.options))
    wanted = branch.adapt(parent)
    if wanted is parent:
        return config
    options = make_options(MODELS[wanted.name], wanted.options)
    model = dataclasses.replace(config.model, name=wanted.name, options=options, weights=None)
    return dataclasses.replace(config, model=model)


class Runner:
    """One branch from ``parent`` in ``store``. UserError for what does not fit together."""

    def __init__(self, parent: Tickets, config: LotteryBranch, store: Store):
        self.parent, self.config, self.store = parent, config, store
        self.branch: Branch = BRANCHES[config.branch.name](**vars(config.branch.options))
        self.label = " ".join([name_of(config.branch), *config.changes])
        if self.branch.needs_changes and not config.changes:
            raise UserError(f"changes: without any, {config.branch.name} would repeat its parent")
        check_early(self.branch, parent.setup)
        changed = cli.override(parent.config, dict(c.split("=", 1) for c in config.changes))
        with user_errors("branch"):
            changed = adapted(changed, self.branch)
        self.found = Tickets(changed, store, self._setup(changed))
        self.levels = self._levels()
        if self.branch.start is not None and self.branch.early is None:
            with user_errors("branch"):
                self._start(0, self.levels[0])  # what cannot be fails before anything is written

    def _setup(self, changed: Lottery) -> Setup:
        same = changed == self.parent.config
        return self.parent.setup if same else Setup(changed)

    def _levels(self) -> list[int]:
        there = self.parent.levels()
        lowest = self.branch.first_level
        chosen = self.config.levels or [level for level in there if level >= lowest]
        missing = [level for level in chosen if level not in there]
        if missing or not chosen:
            raise UserError(f"levels: {missing or chosen} of {there} in {self.parent.store.path}")
        return sorted(chosen)

    def _start(self, replicate: int, level: int) -> TrainState:
        assert self.branch.start is not None
        salt = f"{self.config.branch.name}/{self.config.seed}"
        setup = self.found.setup
        origin = Level(self.parent, setup, self.store, replicate, level, salt)
        state = self.branch.start(origin)
        fresh = training.create(state.params, state.state, state.mask, setup.optimizer)
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
        return rows(self.label, self.found, self.levels, goal(self.parent))

    def _train_early(self, duration: str) -> None:
        """The dense networks to the early step: from the rewind point if that comes before."""
        parent, networks = self.parent, []
        step = parent.setup.steps(duration)
        before = pretraining(parent)
        for replicate in range(parent.config.replicates):

            def start(replicate=replicate) -> TrainState:
                rewind_point = parent.state(replicate, 0)
                if int(rewind_point.step) <= step:
                    return rewind_point
                return initial(parent, replicate, before)

            part = self.store.within(f"replicate_{replicate}/early")
            networks.append(Network(part, parent.seed(replicate), start))
        train_all(parent.setup, networks, self.store, "early", {step: "early"}, step)

    def _seed(self, replicate: int) -> int:
        seed = self.found.seed(replicate)
        purpose = f"other order/{self.config.seed}"
        return derived(seed, purpose) if self.branch.other_order else seed

    def _train(self) -> None:
        networks = [
            Network(
                self.found.part(replicate, level),
                self._seed(replicate),
                lambda replicate=replicate, level=level: self._start(replicate, level),
            )
            for level, replicate in self.found.networks(self.levels)
        ]
        train_all(self.found.setup, networks, self.store, "levels")

    def _connect(self, connection: Connection) -> None:
        for level, replicate in self.found.networks(self.levels):
            part = self.found.part(replicate, level)
            if not part.has("connectivity.json"):
                ticket = self.parent.final(replicate, level)
                other = (
                    self.found.final(replicate, level)
                    if connection.between == "orders"
                    else self.parent.final(replicate, level - 1)
                )
                line = measure_line(self.parent.setup, connection, ticket, other)
                density = self.parent.part(replicate, level).read_json("DONE")["density"]
                rewind = int(self.parent.state(replicate, level).step)
                facts = {"between": connection.between, "density": density, "rewind": rewind}
                part.write_json("connectivity.json", {**facts, **line})


def measure_line(
    setup: Setup, connection: Connection, a: tuple[Params, State], b: tuple[Params, State]
) -> dict[str, Any]:
    """Test loss and error on the line from ``a`` to ``b``, and its barrier."""
    ts = np.linspace(0, 1, connection.points).tolist()
    measured = []
    for t in ts:
        params, state = landscape.interpolate(a, b, t)
        if connection.batch_norm == "reestimated":
            state = landscape.batch_statistics(setup.model, params, state, inputs(setup))
        measured.append(setup.evaluate(params, state))
    errors = [1 - test["accuracy"] for test in measured]
    return {
        "t": ts,
        "test/loss": [test["loss"] for test in measured],
        "test/error": errors,
        "barrier": landscape.barrier(errors),
    }


def inputs(setup: Setup, num_batches: int = 10) -> Iterable[Array]:
    """Training images as the network takes them, in the order in which they lie."""
    size = setup.config.train.batch_size
    to_inputs = build.inputs(setup.config.data, setup.dataset)
    for start in range(0, min(num_batches * size, setup.dataset.num_train), size):
        stop = min(start + size, setup.dataset.num_train)
        yield to_inputs(jnp.asarray(setup.dataset.examples(np.arange(start, stop))[0]))


def check_early(branch: Branch, setup: Setup) -> None:
    """UserError for an early step that comes after the training."""
    end = setup.config.train.duration
    if branch.early is not None and setup.steps(branch.early) > setup.steps(end):
        raise UserError(f"branch.options.step: {branch.early} comes after {end}, the end")


def check_inside(config: Lottery, setup: Setup) -> None:
    """UserError for branches that cannot be run at the end of this lottery."""
    for name in config.branches:
        branch = BRANCHES[name]()
        if branch.needs_changes:
            raise UserError(f"branches: {name} takes changes; run lottery_branch afterwards")
        check_early(branch, setup)
        with user_errors(f"branches: {name}"):
            adapted(config, branch)


def run_inside(parent: Tickets, name: str) -> list[Row]:
    """The branch of that name with its default options, in a directory inside its parent's."""
    config = LotteryBranch(branch=BranchConfig(name))
    return Runner(parent, config, parent.store.within(f"branches/{name}")).run()
