"""Magnitude pruning: ``score = |theta|``, at initialisation or of trained weights.

The score of a pruned weight is its magnitude too; ``masks.keep_top`` passes over it.
"""

import jax
import jax.numpy as jnp

from ntk_prune import masks
from ntk_prune.pruners.common import Scope, make_pruner
from ntk_prune.types import Batch, Key, Mask, Model, Params, Pruner, Scores, State


def magnitude(scope: Scope = "global") -> Pruner:
    """The weights' magnitudes ``|theta|``.

    Args:
        scope: Rank all layers together (global), keep the same density in each (layer), or share
            the weights over the layers by Erdos-Renyi-Kernel (erk).
    """

    def score(
        key: Key, model: Model, params: Params, state: State, mask: Mask, batches: Batch
    ) -> Scores:
        del key, model, state, mask, batches
        return masks.only_prunable(jax.tree.map(jnp.abs, params))

    return make_pruner(score, scope=scope)
