"""Prune a network that labels every pixel, train what is left, measure its mean IoU."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments import build
from experiments.config import Segmentation
from experiments.errors import UserError
from experiments.protocols.prune_and_train import draw_figures, finish, run_stages
from experiments.store import Store
from ntk_prune import data, training
from ntk_prune.rng import stream


def segmentation(config: Segmentation, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    setup = build.setup(config)
    if not isinstance(setup.dataset, data.Stream):
        raise UserError(f"data: the pixels of {config.data.name} have no labels; try voc2012")
    key = stream(config.seed, "init")
    params, state = build.initialise(config.model, key, setup.model, setup.example)
    with store.claimed():
        final = run_stages(config, setup, store, params, state)
        draw_figures(store)
        draw_predictions(config, setup, setup.dataset, store, final)
        finish(setup.training, store, final)


def draw_predictions(
    config: Segmentation,
    setup: build.Setup,
    dataset: data.Stream,
    store: Store,
    final: training.TrainState,
) -> None:
    """``predictions.png``: the first test images, their labels, what the network says."""
    from experiments.report import figures, pictures

    x, y, _ = next(iter(dataset.test_batches(config.pictures)))
    inputs = build.inputs(config.data, dataset)(jnp.asarray(x))
    logits, _ = jax.jit(setup.model.apply, static_argnames="train")(
        final.params, final.state, inputs, train=False
    )
    predicted = np.asarray(logits.argmax(-1))
    figure = pictures.predictions(x, y, predicted, dataset.classes, dataset.name)
    figures.save(figure, store.path / "predictions")
