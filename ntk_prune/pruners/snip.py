"""SNIP and iterative SNIP: the sensitivity of the loss to each connection.

``score = |dL/dm| / sum |dL/dm|`` with ``L`` the cross entropy of ``f(x; theta * m)``.

``snip`` (Lee, Ajanthan, Torr, arXiv 1810.02340) scores every connection once; at a pruned position
the score is the sensitivity to putting the weight back, which is not zero and enters the
normalisation. ``itersnip`` (de Jorge et al., arXiv 2006.09081; Verdenius et al., arXiv 2006.00896)
scores and prunes many times by ``|theta * dL/dtheta| = |m * dL/dm|``, zero at a pruned position.

Differs:
- gradients are summed over all batches and the absolute value taken at the end, as in the published
  NTK-SAP code; the papers use one batch;
- ``snip(num_rounds=...)`` iterates it, which its paper does not.
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
        gradient = mask_gradient(model, params, state, mask, batches, batch_norm)
        return normalise(_sensitivity(gradient), params)

    return make_pruner(score, num_rounds, schedule, scope)


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
        gradient = mask_gradient(model, params, state, mask, batches, batch_norm)
        return normalise(_sensitivity(masks.apply(gradient, mask)), params)

    return make_pruner(score, num_rounds, schedule, scope)


@jax.jit
def _sensitivity(gradient):
    """``|g|``."""
    return jax.tree.map(jnp.abs, gradient)
