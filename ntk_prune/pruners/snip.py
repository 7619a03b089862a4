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
    criterion,
    make_pruner,
    mask_gradient,
    normalise,
)
from ntk_prune.types import Pruner


@criterion
def snip(
    num_rounds: int = 1,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    batch_norm: BatchNormMode = "batch",
) -> Pruner:
    """The sensitivity of the loss to each connection, ``|dL/dm|``."""
    check_batch_norm(batch_norm)

    def score(key, model, params, state, mask, batches):
        del key
        return _sensitivity(mask_gradient(model, params, state, mask, batches, batch_norm))

    return make_pruner(score, num_rounds, schedule, scope)


@jax.jit
def _sensitivity(gradient):
    """``|g| / sum |g|``."""
    return normalise(jax.tree.map(jnp.abs, gradient))
