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
from experiments.protocols.prune_and_train.run import (
    draw_figures,
    finish,
    initialise,
    make_setup,
    run_stages,
)
from experiments.store import Store
from ntk_prune import data
from ntk_prune.types import Model


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
        require(self.hessian_images == 0, "hessian_images", self.hessian_images,
                 "0: there is no Hessian over all pixels")  # fmt: skip
        require(self.prune.name != "pxact", "prune.name", self.prune.name,
                 "another: it takes one label an image")  # fmt: skip


def segmentation(config: Segmentation, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    setup = make_setup(config)
    dataset = setup.recipe.dataset
    if not isinstance(dataset, data.Stream):
        raise UserError(f"data: the pixels of {config.data.name} have no labels; try voc2012")
    params, state = initialise(config, setup.recipe)
    with store.claimed():
        numbers = run_stages(config, setup, store, params, state)
        draw_figures(store)
        draw_predictions(config, setup.recipe.model, dataset, store)
        finish(store, numbers)


def draw_predictions(
    config: Segmentation, model: Model, dataset: data.Stream, store: Store
) -> None:
    """``predictions.png``: the first test images, their labels, what the network says."""
    from experiments.plotting.saving import save
    from experiments.protocols.segmentation import figures

    x, y, _ = next(iter(dataset.test_batches(config.pictures)))
    inputs = factories.inputs(config.data, dataset)(jnp.asarray(x))
    final = store.load("params_final")
    logits, _ = jax.jit(model.apply, static_argnames="train")(
        final["params"], final.get("state", {}), inputs, train=False
    )
    predicted = np.asarray(logits.argmax(-1))
    figure = figures.predictions(x, y, predicted, dataset.classes, dataset.name)
    save(figure, store.path / "predictions")
