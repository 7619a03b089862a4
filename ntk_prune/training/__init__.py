"""Masked training: the state, one pure step, its spreading over devices, the loop, evaluation."""

from ntk_prune.training.evaluation import make_evaluate
from ntk_prune.training.loop import Epoch, fit
from ntk_prune.training.optimisers import OPTIMISERS, adam, adamw, learning_rate, sgd
from ntk_prune.training.parallel import (
    Distributed,
    check_batch_size,
    default_steps_per_call,
    distribute,
)
from ntk_prune.training.state import TrainState, create
from ntk_prune.training.step import Examples, make_train_step

__all__ = [
    "OPTIMISERS",
    "Distributed",
    "Epoch",
    "Examples",
    "TrainState",
    "adam",
    "adamw",
    "check_batch_size",
    "create",
    "default_steps_per_call",
    "distribute",
    "fit",
    "learning_rate",
    "make_evaluate",
    "make_train_step",
    "sgd",
]
