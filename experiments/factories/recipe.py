"""What all networks of one training share."""

import copy
import functools
from typing import NamedTuple, Protocol

import jax
import optax

from experiments.config import DataConfig, ModelConfig, Replicated, TrainConfig
from experiments.errors import UserError, user_errors
from experiments.factories.data import Split, example, load_data
from experiments.factories.network import initialise, make_model
from experiments.factories.training import (
    Seeds,
    choose_devices,
    count_steps_per_epoch,
    make_evaluate,
    make_feed,
    make_learning_rate,
    make_optimizer,
    make_step,
    steps,
)
from ntk_prune import masks, training
from ntk_prune.rng import stream
from ntk_prune.types import Params, State


class Trainable(Protocol):
    """A config that says which network is trained on which data by which recipe."""

    @property
    def model(self) -> ModelConfig: ...
    @property
    def data(self) -> DataConfig: ...
    @property
    def train(self) -> TrainConfig: ...


class Program(NamedTuple):
    """The compiled steps of one network, or of several as one program, and their batches."""

    step: training.Distributed
    feed: training.Feed


def choose_at_once(params: Params, number: int, most: int = 256) -> int:
    """How many of ``number`` networks train best as one program, at most ``most``.

    All; but on a CPU networks with convolutions are no faster together, and longer to compile.
    """
    convolutional = any(kernel.ndim == 4 for _, kernel in masks.leaves(params))
    return 1 if convolutional and jax.default_backend() == "cpu" else min(number, most)


class Recipe:
    """Data, network, optimiser and training step of a config.

    Args:
        config: Any config with a network, data and a training.
        at_once: How many networks train as one program. None: as a ``Replicated`` config says,
            1 for another.
        section: What the training is called in the config, for errors.

    UserError says what is missing or does not fit, before anything is written.
    """

    def __init__(self, config: Trainable, at_once: int | None = None, section: str = "train"):
        self.config = config
        train, images = config.train, config.data
        with user_errors("data"):
            self.dataset = load_data(images)
        self.example = example(images, self.dataset)
        with user_errors("model"):
            self.model = make_model(config.model, self.dataset, self.example)
        with user_errors(section):
            self.steps_per_epoch = count_steps_per_epoch(train, self.dataset)
            self.devices = choose_devices(train, self.dataset)
            self.learning_rate = make_learning_rate(train, self.steps_per_epoch)
            self.optimizer = make_optimizer(train, self.learning_rate)
            jax.eval_shape(self.optimizer.init, self.shapes[0])
            self._step = make_step(train, images, self.dataset, self.model, self.optimizer)
        self.num_steps = self.steps(train.duration)
        self.at_once = self._default_at_once() if at_once is None else at_once
        self._steps_by_size: dict[int, training.Distributed] = {}

    def _default_at_once(self) -> int:
        if not isinstance(self.config, Replicated):
            return 1
        return self.config.at_once or choose_at_once(self.shapes[0], self.config.replicates)

    def training_at_once(self, number: int) -> "Recipe":
        """This recipe for so many networks as one program; they share what they compile."""
        other = copy.copy(self)
        other.at_once = number
        return other

    def with_optimizer(self, optimizer: optax.GradientTransformation) -> "Recipe":
        """This recipe with another update rule, for one network at a time."""
        other = copy.copy(self)
        other.at_once, other.optimizer, other._steps_by_size = 1, optimizer, {}
        c = self.config
        other._step = make_step(c.train, c.data, self.dataset, self.model, optimizer)
        return other

    @functools.cached_property
    def shapes(self) -> tuple[Params, State]:
        """Parameters and running statistics of the network, without values."""
        return jax.eval_shape(self.model.init, jax.random.key(0), self.example)

    @functools.cached_property
    def evaluate(self) -> training.Evaluate:
        """``evaluate(params, state) -> {"loss", "accuracy", ...}`` on the test set."""
        return self._evaluation("test")

    @functools.cached_property
    def evaluate_train(self) -> training.Evaluate:
        """The same on the training set, not augmented."""
        return self._evaluation("train")

    def _evaluation(self, split: Split) -> training.Evaluate:
        c = self.config
        return make_evaluate(c.train, c.data, self.dataset, self.model, self.devices, split)

    def steps(self, duration: str) -> int:
        """A duration in training steps. UserError for one without end."""
        try:
            return steps(duration, self.steps_per_epoch)
        except OverflowError as error:
            raise UserError(str(error)) from None

    def program(self, seeds: Seeds) -> Program:
        """The training of one network for each seed of its data.

        Several have one more axis in front of their states; one alone has not. Programs of as many
        networks share what they compile.
        """
        train, size = self.config.train, len(seeds)
        with user_errors("train"):
            if size not in self._steps_by_size:
                self._steps_by_size[size] = training.distribute(
                    self._step,
                    train.parallel,
                    self.devices,
                    train.steps_per_call,
                    replicates=None if size == 1 else size,
                )
            step = self._steps_by_size[size]
            feed = make_feed(train, seeds[0] if size == 1 else seeds, self.dataset, step)
        return Program(step, feed)

    def initial(self, seed: int) -> training.TrainState:
        """The dense network of a seed before its first step."""
        key = stream(seed, "init")
        params, state = initialise(self.config.model, key, self.model, self.example)
        return training.create(params, state, masks.ones_like(params), self.optimizer)
