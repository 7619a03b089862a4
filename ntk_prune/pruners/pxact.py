r"""PXact: the exact trace of the kernel of the label's logit, which path exclusion bounds.

    score = theta^2 sum_i (d f_{y_i}(x_i) / d theta)^2

at the masked weights under running statistics. The sum of squares is a weight's share of
``sum_i Theta_{y_i y_i}(x_i, x_i)``. A variant in the history of PX's published code (Iurada et al.,
arXiv 2406.01820), not in the paper.

Differs:
- an earlier version of it takes the sum of all logits, at weights moved by 1e-6 times noise.
"""

import jax
import jax.numpy as jnp

from ntk_prune import masks
from ntk_prune.ntk import squared_gradients
from ntk_prune.pruners.common import (
    Schedule,
    Scope,
    accumulate,
    add,
    criterion,
    make_pruner,
    normalise,
)
from ntk_prune.types import Array, Batch, Mask, Model, Params, Pruner, Scores, State


@criterion
def pxact(
    num_rounds: int = 100, schedule: Schedule = "exponential", scope: Scope = "global"
) -> Pruner:
    """Squared weight times squared gradient of the label's logit, example by example."""

    def score(key, model, params, state, mask, batches):
        del key
        return normalise(saliency(model, params, state, mask, batches), params)

    return make_pruner(score, num_rounds, schedule, scope)


def saliency(model: Model, params: Params, state: State, mask: Mask, batches: Batch) -> Scores:
    """The scores, not normalised. Raises ValueError unless there is one label per example."""
    if batches.y.ndim != 2:
        raise ValueError(f"pxact needs one label per example: y [n, B], got {batches.y.shape}")

    def add_batch(total: Params, x: Array, y: Array) -> Params:
        return add(total, squared_gradients(model, params, x, y, state=state, mask=mask))

    squares = accumulate(add_batch, params, batches)
    return _times_square(masks.apply(params, mask), squares)


@jax.jit
def _times_square(params, squares):
    return jax.tree.map(lambda p, s: jnp.square(p) * s, params, squares)
