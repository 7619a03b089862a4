r"""SynFlow: synaptic flow, without data (Tanaka et al., arXiv 2006.05467).

With every parameter and running statistic replaced by its absolute value and an input of ones,

    R = sum f(1; |theta| * m),    score = |dR/dm| = |theta * dR/dtheta|.

Without biases and batch norm the scores of every layer sum to ``R``, which is why iterating it
does not empty a layer.

Differs:
- computed in float64 whatever the type of the parameters: ``R`` is a product over the depth that
  overflows float32 on deep residual networks (the published code does so for ImageNet only); the
  scores are then divided by their sum and returned in the type of the parameters, ranks unchanged;
- batch norm by running statistics as published, so every parameter, running mean and variance
  included, is made positive; ``batch_norm="batch"`` is there to compare.
"""

import functools

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
    normalise,
)
from ntk_prune.types import Array, Mask, Model, Params, Pruner, Scores, State


@criterion
def synflow(
    num_rounds: int = 100,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    batch_norm: BatchNormMode = "running",
) -> Pruner:
    """The flow through each connection of the network of absolute weights.

    Args:
        batch_norm: Normalise by the running statistics or by those of the one example of ones.
    """
    check_batch_norm(batch_norm)

    def score(key, model, params, state, mask, batches):
        del key
        with jax.enable_x64(True):
            ones = jnp.ones((1, *batches.x.shape[2:]), jnp.float64)
            return normalise(_wide_saliency(model, params, state, mask, ones, batch_norm), params)

    return make_pruner(score, num_rounds, schedule, scope, reads="nothing")


def saliency(
    model: Model,
    params: Params,
    state: State,
    mask: Mask,
    ones: Array,
    batch_norm: BatchNormMode = "running",
) -> Scores:
    """``|dR/dm|`` at kept weights, not normalised; ``ones [1, ...]`` is the input."""
    params, state = (jax.tree.map(jnp.abs, tree) for tree in (params, state))

    def flow(m: Params) -> Array:
        pruned = masks.apply(params, m)
        return model.apply(pruned, state, ones, train=batch_norm == "batch")[0].sum()

    gradient = jax.grad(flow)(masks.as_float(mask, params))
    return masks.only_prunable(jax.tree.map(jnp.abs, masks.apply(gradient, mask)))


@functools.partial(jax.jit, static_argnames=("model", "batch_norm"))
def _wide_saliency(model, params, state, mask, ones, batch_norm):
    """``saliency`` in the type of ``ones``."""
    wide, statistics = jax.tree.map(lambda p: p.astype(ones.dtype), (params, state))
    return saliency(model, wide, statistics, mask, ones, batch_norm)
