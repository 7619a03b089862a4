"""The only place where names in a config become objects.

Whatever can be missing or wrong fails here, before a run writes anything.
"""

from typing import NamedTuple

import jax

from experiments.build.images import Data, example, inputs, load_data, load_images, score_batches
from experiments.build.network import (
    check_paths,
    initialise,
    layers_by_depth,
    make_model,
    make_pruner,
)
from experiments.build.training import (
    Seeds,
    Training,
    make_feed,
    make_learning_rate,
    make_optimizer,
    make_training,
    steps,
)
from experiments.config import PruneAndTrain
from experiments.errors import user_errors
from ntk_prune.types import Array, Batch, Model, Pruner

__all__ = [
    "Data",
    "Seeds",
    "Setup",
    "Training",
    "check_paths",
    "example",
    "initialise",
    "inputs",
    "layers_by_depth",
    "load_data",
    "load_images",
    "make_feed",
    "make_learning_rate",
    "make_model",
    "make_optimizer",
    "make_pruner",
    "make_training",
    "score_batches",
    "setup",
    "steps",
]


class Setup(NamedTuple):
    """Everything a protocol that prunes and trains works with."""

    dataset: Data
    model: Model
    example: Array  # one image of zeros as the network takes it
    pruner: Pruner | None
    batches: Batch | None  # what the pruner sees; None where nothing is pruned
    training: Training


def setup(config: PruneAndTrain) -> Setup:
    """Load the data and make every object. UserError says what is missing or does not fit."""
    with user_errors("data"):
        dataset = load_data(config.data)
    shape = example(config.data, dataset)
    with user_errors("model"):
        model = make_model(config.model, dataset, shape)
    with user_errors("prune"):
        pruner = make_pruner(config.prune)
        check_paths(pruner, model, shape)
    with user_errors("train"):
        made = make_training(config.train, config.data, config.seed, dataset, model)
        params, _ = jax.eval_shape(model.init, jax.random.key(0), shape)
        jax.eval_shape(made.optimizer.init, params)
    batches = score_batches(config.prune, config.data, config.seed, dataset) if pruner else None
    return Setup(dataset, model, shape, pruner, batches, made)
