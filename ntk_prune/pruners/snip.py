"""SNIP: connection sensitivity (Lee, Ajanthan, Torr, arXiv 1810.02340).

``score = |dL/dm| / sum |dL/dm|`` with ``L`` the cross entropy of ``f(x; theta * m)``.

Differs:
- gradients are summed over all batches and the absolute value taken at the end; the paper uses
  one batch, the published NTK-SAP code sums as here;
- one shot by default as in the paper; ``num_rounds`` iterates it.

At a pruned position the score is the sensitivity to putting the weight back, which is not zero
and enters the normalisation; ``masks.keep_top`` passes over it.
"""

import jax
import jax.numpy as jnp

from ntk_prune.pruners.common import (
    BatchNormMode,
    Schedule,
    Scope,
    check_batch_norm,
    make_pruner,
    mask_gradient,
    normalise,
)
from ntk_prune.types import Batch, Key, Mask, Model, Params, Pruner, Scores, State


def snip(
    num_rounds: int = 1,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    batch_norm: BatchNormMode = "batch",
) -> Pruner:
    """The sensitivity of the loss to each connection, ``|dL/dm|``.

    Args:
        num_rounds: How often to score and prune.
        schedule: How the density falls over the rounds.
        scope: Rank all layers together (global), each alone (layer), or as many per layer as
            Erdos-Renyi-Kernel gives (erk).
        batch_norm: Normalise by the batch's statistics or by the running statistics.
    """
    check_batch_norm(batch_norm)

    def score(
        key: Key, model: Model, params: Params, state: State, mask: Mask, batches: Batch
    ) -> Scores:
        del key
        return _sensitivity(mask_gradient(model, params, state, mask, batches, batch_norm))

    return make_pruner(score, num_rounds, schedule, scope)


@jax.jit
def _sensitivity(gradient):
    """``|g| / sum |g|``."""
    return normalise(jax.tree.map(jnp.abs, gradient))
