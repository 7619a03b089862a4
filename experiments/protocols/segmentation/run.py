"""Prune a network that labels every pixel, train what is left, measure its mean IoU."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.config.options import require
from experiments.errors import UserError
from experiments.protocols.prune_and_train.config import PruneAndTrain
from experiments.protocols.prune_and_train.run import draw_figures, finish, run_stages
from experiments.protocols.prune_and_train.setup import Setup, make_setup
from experiments.store import Store
from ntk_prune import data, training
from ntk_prune.rng import stream


@dataclasses.dataclass(frozen=True)
class Segmentation(PruneAndTrain):
    """Prune a network that labels every pixel, train what is left, measure its mean IoU."""

    protocol: ClassVar = "segmentation"

    pictures: int = 4
    """Test images whose predictions are drawn."""

    def __post_init__(self):
        super().__post_init__()
        require(self.pictures >= 1, "pictures", self.pictures, "at least 1")
        require(self.kernel_images == 0, "kernel_images", self.kernel_images,
                 "0: a kernel over all pixels is not followed")  # fmt: skip
        require(self.prune.name != "pxact", "prune.name", self.prune.name,
                 "another: it takes one label an image")  # fmt: skip


def segmentation(config: Segmentation, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    setup = make_setup(config)
    if not isinstance(setup.dataset, data.Stream):
        raise UserError(f"data: the pixels of {config.data.name} have no labels; try voc2012")
    key = stream(config.seed, "init")
    params, state = factories.initialise(config.model, key, setup.model, setup.example)
    with store.claimed():
        final = run_stages(config, setup, store, params, state)
        draw_figures(store)
        draw_predictions(config, setup, setup.dataset, store, final)
        finish(setup.training, store, final)


def draw_predictions(
    config: Segmentation,
    setup: Setup,
    dataset: data.Stream,
    store: Store,
    final: training.TrainState,
) -> None:
    """``predictions.png``: the first test images, their labels, what the network says."""
    from experiments.plotting.saving import save
    from experiments.protocols.segmentation import figures

    x, y, _ = next(iter(dataset.test_batches(config.pictures)))
    inputs = factories.inputs(config.data, dataset)(jnp.asarray(x))
    logits, _ = jax.jit(setup.model.apply, static_argnames="train")(
        final.params, final.state, inputs, train=False
    )
    predicted = np.asarray(logits.argmax(-1))
    figure = figures.predictions(x, y, predicted, dataset.classes, dataset.name)
    save(figure, store.path / "predictions")
