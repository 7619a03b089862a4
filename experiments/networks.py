"""Several networks of one shape: trained as one program, each with files of its own.

A directory of a network holds ``metrics.jsonl``, ``params_final.safetensors``, kept states, and
``DONE`` with the final numbers. What trains together shares its checkpoints, which are removed at
the end.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments import factories
from experiments.config import Replicated
from experiments.errors import user_errors
from experiments.metrics import final_numbers, log_epoch, log_test
from experiments.store import Store
from ntk_prune import masks, training
from ntk_prune.checkpoint import Checkpoints
from ntk_prune.rng import stream
from ntk_prune.training import Evaluate, TrainState
from ntk_prune.types import Mask


class Setup:
    """Data, network and training of an experiment on several networks.

    UserError says what is missing or does not fit, before anything is written.
    """

    def __init__(self, config: Replicated):
        self.config = config
        with user_errors("data"):
            self.dataset = factories.load_data(config.data)
        self.example = factories.example(config.data, self.dataset)
        with user_errors("model"):
            self.model = factories.make_model(config.model, self.dataset, self.example)
        with user_errors("train"):
            rate = factories.make_learning_rate(config.train, self.steps_per_epoch)
            self.optimizer = factories.make_optimizer(config.train, rate)
        self._by_size: dict[int, factories.Training] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Of the training."""
        return self.dataset.num_train // self.config.train.batch_size

    @property
    def at_once(self) -> int:
        """How many networks train as one program. Unless the config says so, all replicates; but
        XLA's CPU backend maps convolutions several times slower than it runs them one by one."""
        if self.config.at_once is not None:
            return self.config.at_once
        params, _ = jax.eval_shape(self.model.init, jax.random.key(0), self.example)
        convolutional = any(kernel.ndim == 4 for _, kernel in masks.leaves(params))
        return 1 if convolutional and jax.default_backend() == "cpu" else self.config.replicates

    def steps(self, duration: str) -> int:
        """A duration in training steps."""
        return factories.steps(duration, self.steps_per_epoch)

    def training(self, seeds: factories.Seeds) -> factories.Training:
        """The training of one network for each seed. As many seeds share what they compile."""
        c, data = self.config, self.dataset
        with user_errors("train"):
            made = self._by_size.get(len(seeds))
            if made is None:
                made = factories.make_training(c.train, c.data, seeds, data, self.model)
                self._by_size[len(seeds)] = made
                return made
            return made._replace(feed=factories.make_feed(c.train, seeds, data, made.step))

    @property
    def evaluate(self) -> Evaluate:
        """``evaluate(params, state) -> {"loss", "accuracy", ...}`` on the test set."""
        made = next(iter(self._by_size.values()), None) or self.training((self.config.seed,))
        return made.evaluate

    def initial(self, seed: int) -> TrainState:
        """The dense network of a seed before its first step."""
        key = stream(seed, "init")
        params, state = factories.initialise(self.config.model, key, self.model, self.example)
        return training.create(params, state, masks.ones_like(params), self.optimizer)


class Network(NamedTuple):
    """One network to train: its directory, the seed of its data, and what it starts from."""

    store: Store
    seed: int
    start: Callable[[], TrainState]


def save_state(store: Store, name: str, state: TrainState) -> None:
    """Write a whole training state but for its mask: it can be gone on with, bit for bit."""
    moments = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state.opt_state))}
    parts = {"step": state.step, "params": state.params, "state": state.state}
    store.save(name, {**parts, "optimizer": moments})


def load_state(
    store: Store, name: str, mask: Mask, optimizer: optax.GradientTransformation
) -> TrainState:
    """The state that ``save_state`` wrote, with its mask and for its optimiser."""
    saved = store.load(name)
    moments = saved.get("optimizer", {})
    structure = jax.tree.structure(jax.eval_shape(optimizer.init, saved["params"]))
    leaves = [moments[str(i)] for i in range(len(moments))]
    return TrainState(
        jnp.asarray(saved["step"]),
        saved["params"],
        saved.get("state", {}),
        jax.tree.unflatten(structure, leaves),
        mask,
    )


def train_all(
    setup: Setup,
    networks: Sequence[Network],
    store: Store,
    stage: str,
    keep: Mapping[int, str] | None = None,
    until: int | None = None,
) -> None:
    """Train all that is not trained yet, as many at once as the config says.

    Args:
        setup: How they are trained.
        networks: In any order; those that train together are neighbours.
        store: Has the checkpoints while something trains.
        stage: What is trained, unique within the run.
        keep: Steps at which the whole state is written, and under which name; None: the start, as
            "rewind".
        until: Where to stop; None for the end of the training.
    """
    size = setup.at_once
    checkpoints = store.path / "checkpoints" / stage
    for first in range(0, len(networks), size):
        together = networks[first : first + size]
        where = checkpoints / str(first)
        if not all(network.store.has("DONE") for network in together):
            _train_together(setup, together, where, keep, until)
    shutil.rmtree(checkpoints, ignore_errors=True)
    with contextlib.suppress(OSError):  # there are those of other stages, or none
        checkpoints.parent.rmdir()


def _train_together(
    setup: Setup,
    networks: Sequence[Network],
    directory: Path,
    keep: Mapping[int, str] | None,
    until: int | None,
) -> None:
    made = setup.training(tuple(network.seed for network in networks))
    starts = [network.start() for network in networks]
    keep = {int(starts[0].step): "rewind"} if keep is None else keep
    end = made.num_steps if until is None else until
    stops = sorted({end, *(step for step in keep if step < end)})
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    for network, start in zip(networks, starts, strict=True):
        network.store.save("mask", start.mask)
        _keep(network.store, keep, start)
    with Checkpoints(directory) as checkpoints:
        if checkpoints.latest_step() is not None:
            state = checkpoints.restore(state)
        for network, start in zip(networks, starts, strict=True):
            network.store.rewind_log(int(state.step[0]))
            _record_start(made, network.store, start)
        for epoch in _epochs(made, state, stops):
            state = epoch.state
            for r, network in enumerate(networks):
                _record(made, network.store, epoch, r, keep)
            number = round(epoch.epoch)
            if number % setup.config.train.checkpoint_every == 0 or epoch.step == end:
                checkpoints.save(epoch.step, state)
    for r, network in enumerate(networks):
        _finish(made, network.store, _one(state, r))


def _epochs(
    made: factories.Training, state: TrainState, stops: Sequence[int]
) -> Iterator[training.Epoch]:
    """Every epoch to the last of the steps ``stops``, cut in two at the others."""
    for stop in stops:
        for epoch in training.fit(state, made.step, made.feed, stop, made.learning_rate):
            state = epoch.state
            yield epoch


@jax.jit
def _one(state: TrainState, r: int) -> TrainState:
    """The state of network ``r`` out of that of several."""
    return jax.tree.map(lambda leaf: leaf[r], state)


def _keep(store: Store, keep: Mapping[int, str], state: TrainState) -> None:
    name = keep.get(int(state.step))
    if name is not None:
        save_state(store, name, state)


def _record_start(made: factories.Training, store: Store, start: TrainState) -> None:
    """Log what the test set says of a network before its training, unless that is logged: the
    levels of a lottery are compared by when they learn, and all begin at the rewind step."""
    if not store.logged("test/accuracy"):
        step = int(start.step)
        test = made.evaluate(start.params, start.state)
        log_test(store, step, step / made.feed.steps_per_epoch, test)


def _record(
    made: factories.Training, store: Store, epoch: training.Epoch, r: int, keep: Mapping[int, str]
) -> None:
    """Log what network ``r`` learnt in an epoch and what the test set says of it."""
    state = _one(epoch.state, r)
    _keep(store, keep, state)
    test = made.evaluate(state.params, state.state)
    log_epoch(store, epoch, epoch.loss[r], epoch.accuracy[r], test, networks=len(epoch.loss))


def _finish(made: factories.Training, store: Store, state: TrainState) -> None:
    """Write the final weights and numbers."""
    store.save("params_final", {"params": state.params, "state": state.state})
    store.finish({**final_numbers(store, state, made.evaluate), **_early_stop(store)})


def _early_stop(store: Store) -> dict[str, float]:
    """The step of least test loss and the accuracy there; nothing where no step was made."""
    losses, accuracies = store.logged("test/loss"), dict(store.logged("test/accuracy"))
    if not losses:
        return {}
    step = min(losses, key=lambda pair: pair[1])[0]
    return {"early_stop/step": step, "early_stop/accuracy": accuracies[step]}
