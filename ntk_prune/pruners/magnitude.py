"""Magnitude pruning: ``score = |theta|``, at initialisation or of trained weights.

The score of a pruned weight is its magnitude too; ``masks.keep_top`` passes over it.
"""

import jax
import jax.numpy as jnp

from ntk_prune import masks
from ntk_prune.pruners.common import Scope, criterion, make_pruner
from ntk_prune.types import Pruner


@criterion
def magnitude(scope: Scope = "global", exclude: tuple[str, ...] = ()) -> Pruner:
    """The weights' magnitudes ``|theta|``."""

    def score(key, model, params, state, mask, batches):
        del key, model, state, mask, batches
        return masks.only_prunable(jax.tree.map(jnp.abs, params))

    return make_pruner(score, scope=scope, exclude=exclude, reads="nothing")
