"""Masked training: the state, one pure step, its spreading over devices, the loop, evaluation."""

from ntk_prune.training.evaluation import (
    Evaluate,
    WholeSet,
    every_example,
    make_evaluate,
    mean_iou,
)
from ntk_prune.training.feed import Feed, in_memory, streamed
from ntk_prune.training.loop import Epoch, fit
from ntk_prune.training.optimisers import (
    OPTIMISERS,
    adam,
    adamw,
    ascent,
    learning_rate,
    masked_updates,
    scaled,
    sgd,
)
from ntk_prune.training.parallel import (
    Distributed,
    check_batch_size,
    default_steps_per_call,
    distribute,
)
from ntk_prune.training.state import TrainState, create
from ntk_prune.training.step import Examples, Prepare, TrainStep, make_train_step

__all__ = [
    "OPTIMISERS",
    "Distributed",
    "Epoch",
    "Evaluate",
    "Examples",
    "Feed",
    "Prepare",
    "TrainState",
    "TrainStep",
    "WholeSet",
    "adam",
    "adamw",
    "ascent",
    "check_batch_size",
    "create",
    "default_steps_per_call",
    "distribute",
    "every_example",
    "fit",
    "in_memory",
    "learning_rate",
    "make_evaluate",
    "make_train_step",
    "masked_updates",
    "mean_iou",
    "scaled",
    "sgd",
    "streamed",
]
