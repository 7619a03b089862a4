"""What a run that prunes and trains works with."""

from typing import NamedTuple

import jax

from experiments import factories
from experiments.errors import user_errors
from experiments.protocols.prune_and_train.config import PruneAndTrain
from ntk_prune.types import Array, Batch, Model, Pruner


class Setup(NamedTuple):
    """Everything a protocol that prunes and trains works with."""

    dataset: factories.Data
    model: Model
    example: Array  # one image of zeros as the network takes it
    pruner: Pruner | None
    batches: Batch | None  # what the pruner sees; None where nothing is pruned
    training: factories.Training


def make_setup(config: PruneAndTrain) -> Setup:
    """Load the data and make every object. UserError says what is missing or does not fit."""
    with user_errors("data"):
        dataset = factories.load_data(config.data)
    shape = factories.example(config.data, dataset)
    with user_errors("model"):
        model = factories.make_model(config.model, dataset, shape)
    with user_errors("prune"):
        pruner = factories.make_pruner(config.prune)
        factories.check_paths(pruner, model, shape)
    with user_errors("train"):
        made = factories.make_training(config.train, config.data, config.seed, dataset, model)
        params, _ = jax.eval_shape(model.init, jax.random.key(0), shape)
        jax.eval_shape(made.optimizer.init, params)
    batches = (
        factories.score_batches(config.prune, config.data, config.seed, dataset) if pruner else None
    )
    return Setup(dataset, model, shape, pruner, batches, made)
