"""Iterative SNIP: ``score = |theta * dL/dtheta| / sum``, scored and pruned many times.

Under the mask ``theta * dL/dtheta = m * dL/dm``: SNIP's score at weights that are still there, and
zero at pruned ones (de Jorge et al., arXiv 2006.09081; Verdenius et al., arXiv 2006.00896).

Differs: gradients are summed over all batches before the absolute value, as in the published
NTK-SAP code; the papers use one large batch.
"""

import jax
import jax.numpy as jnp

from ntk_prune import masks
from ntk_prune.pruners.common import (
    BatchNormMode,
    Schedule,
    Scope,
    check_batch_norm,
    criterion,
    make_pruner,
    mask_gradient,
    normalise,
)
from ntk_prune.types import Pruner


@criterion
def itersnip(
    num_rounds: int = 100,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    batch_norm: BatchNormMode = "batch",
) -> Pruner:
    """SNIP's sensitivity of the connections still there, ``|theta * dL/dtheta|``."""
    check_batch_norm(batch_norm)

    def score(key, model, params, state, mask, batches):
        del key
        return _sensitivity(mask_gradient(model, params, state, mask, batches, batch_norm), mask)

    return make_pruner(score, num_rounds, schedule, scope)


@jax.jit
def _sensitivity(gradient, mask):
    """``|m * g| / sum |m * g|``."""
    return normalise(jax.tree.map(jnp.abs, masks.apply(gradient, mask)))
