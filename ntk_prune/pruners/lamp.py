r"""LAMP: layer-adaptive magnitude pruning (Lee et al., arXiv 2010.07611), of trained weights.

Within a layer, over the weights still kept,

    score(w) = w^2 / sum of v^2 over the weights v that are not smaller than w,

so the ranking in a layer is that of magnitudes, and a global ranking of the scores decides how many
each layer keeps. The largest weight of every layer scores 1, so no layer empties before all have
one weight left.

Differs: the sum is accumulated from the largest weight down in float64. The published code takes
the total minus a float32 cumulative sum from the smallest up, in which the largest scores of a
layer of two million weights are off by 0.7 % and no longer in the order of the magnitudes.
Equal weights count as larger the lower their index, so that ties go to the lower index here too.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.pruners.common import Scope, criterion, make_pruner
from ntk_prune.types import Array, Pruner


@criterion
def lamp(scope: Scope = "global", exclude: tuple[str, ...] = ()) -> Pruner:
    """The squared weight over the sum of squares of the weights not smaller than it.

    Args:
        scope: global is LAMP; within one layer its ranking is that of magnitudes.
    """

    def score(key, model, params, state, mask, batches):
        del key, model, state, batches
        scored = jax.tree.map(_scores, params, mask, masks.prunable(params))
        return masks.only_prunable(scored)

    return make_pruner(score, scope=scope, exclude=exclude, reads="nothing")


def _scores(weights: Array, kept: Array, prunable: bool) -> Array:
    """The scores of a layer in its type; pruned weights have 0."""
    if not prunable:
        return jnp.zeros_like(weights)
    return jnp.asarray(normalised_squares(np.asarray(weights), np.asarray(kept)), weights.dtype)


def normalised_squares(weights: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """``w^2 / sum_{v not smaller than w} v^2`` over the kept weights, float64; 0 at pruned ones.

    >>> normalised_squares(np.array([1.0, -2.0, 0.0, 3.0]), np.array([True, True, True, False]))
    array([0.2, 1. , 0. , 0. ])
    """
    squares = np.where(kept, np.square(weights.astype(np.float64)), 0.0).ravel()
    descending = np.argsort(-squares, kind="stable")
    ordered = squares[descending]
    not_smaller = np.cumsum(ordered)
    scores = np.zeros_like(squares)
    scores[descending] = ordered / np.where(not_smaller > 0, not_smaller, 1.0)
    return scores.reshape(weights.shape)
