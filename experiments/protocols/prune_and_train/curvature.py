"""What the Hessian before pruning says of a mask: the file ``curvature.json``.

The overlap of any criterion's mask with the top eigenspace (arXiv 2504.14701), and the largest
sparsity that the spectrum predicts for pruning at once (arXiv 2306.05857).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.protocols.prune_and_train.config import PruneAndTrain
from ntk_prune import linalg, masks
from ntk_prune.inertial import one_shot
from ntk_prune.inertial.spectrum import quadratures
from ntk_prune.landscape import MaskedLoss, batch_statistics
from ntk_prune.losses import LOSSES
from ntk_prune.types import Batch, Key, Mask, Params, State

FILE = "curvature.json"
BATCH_SIZE = 100
"""Images a batch, over which the spread of the loss is taken."""
PROBES, STEPS = 8, 50
"""Random vectors of the spectrum, and Hessian products for each."""


def dense_loss(
    config: PruneAndTrain, recipe: factories.Recipe, params: Params, state: State
) -> MaskedLoss:
    """The loss on the first training images before pruning, batch norm by their statistics."""
    n, dataset = config.hessian_images, recipe.dataset
    size = min(BATCH_SIZE, n // 2)
    x, y = dataset.examples(np.arange(n // size * size))
    x = factories.inputs(config.data, dataset)(jnp.asarray(x))
    batches = Batch(x.reshape(-1, size, *x.shape[1:]), np.reshape(y, (-1, size, *np.shape(y)[1:])))
    statistics = batch_statistics(recipe.model, params, state, batches.x)
    return MaskedLoss(
        recipe.model, params, statistics, masks.ones_like(params), batches,
        batch_norm="running", loss=LOSSES[config.train.loss],
    )  # fmt: skip


def compare(key: Key, loss: MaskedLoss, mask: Mask, directions: int) -> dict[str, Any]:
    """The overlap of ``mask`` with as many top eigenvectors as there are classes, chance, and the
    predicted sparsity, which is the same for every mask."""
    of_top, of_probes = jax.random.split(key)
    hessian, k = loss.hessian(), min(directions, loss.size)
    top = linalg.extreme_eigenpairs(of_top, hessian, top=k, bottom=0).top
    overlap = one_shot.mask_overlap(mask, loss.coordinates, top.vectors)
    probes = quadratures(of_probes, hessian, PROBES, min(STEPS, loss.size))
    epsilon = one_shot.loss_spread(loss)
    limit = one_shot.sparsity_limit(np.asarray(loss.w0), probes, epsilon)
    return {
        "images": loss.num_labelled,
        "top": {"values": top.values.tolist(), "residuals": top.residuals.tolist()},
        "overlap": overlap._asdict(),
        "one_shot_sparsity": {**limit._asdict(), "epsilon": epsilon},
    }
