"""Controls: what a criterion is compared with to see whether its ranking matters.

The other two are not pruners: the layer-wise shuffled mask is ``masks.shuffle``, and
re-initialised weights are drawn by the protocol that trains them.
"""

import functools

import jax

from ntk_prune.types import Batch, Key, Mask, Model, Params, Pruner, Scores, State


def invert(pruner: Pruner) -> Pruner:
    """The pruner that keeps the weights ``pruner`` scores lowest."""

    @functools.wraps(pruner.score)
    def score(
        key: Key, model: Model, params: Params, state: State, mask: Mask, batches: Batch
    ) -> Scores:
        scores = pruner.score(key, model, params, state, mask, batches)
        return jax.tree.map(lambda s: -s, scores)

    return pruner._replace(score=score)
