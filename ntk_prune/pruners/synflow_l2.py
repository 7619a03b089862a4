r"""SynFlow-L2: synaptic flow of squared weights, without data (Gebhart et al., arXiv 2101.10552).

    R = sum_p v_p^2,    score = theta^2 dR/d(theta^2),

the squared path values, summed over all paths: a network with kernels ``theta^2`` on an input of
ones. Path exclusion is this with a weight on each output.

Differs:
- published code takes ``|theta| dR/d(theta^2)``, whose layer sums are not equal
  (``rule="published"``); the score above is conserved over layers as SynFlow's is;
- biases are dropped and batch norms are their squared running slopes, so that ``R`` is a sum over
  paths and its scores are conserved; SynFlow keeps both with absolute values;
- a max pool is the sum over its window, because every entry of a window is on a path;
- computed in float64 and normalised, as SynFlow is.
"""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from ntk_prune.pruners import paths
from ntk_prune.pruners.common import (
    Schedule,
    Scope,
    check_choice,
    criterion,
    make_pruner,
    normalise,
)
from ntk_prune.types import Array, Mask, Model, Params, Pruner, Scores, State

Rule = Literal["conserved", "published"]
_POWER = {"conserved": 2, "published": 1}


@criterion
def synflow_l2(
    num_rounds: int = 100,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    rule: Rule = "conserved",
) -> Pruner:
    """The squared values of all paths through each connection.

    Args:
        rule: The derivative times theta^2 (conserved) or times |theta| (published).
    """
    check_choice(get_args(Rule), rule=rule)

    def score(key, model, params, state, mask, batches):
        del key
        with jax.enable_x64(True):
            shares = saliency(model, params, state, mask, batches.x[0, :1], rule)
            return normalise(shares, params)

    return make_pruner(score, num_rounds, schedule, scope, follows_paths=True, reads="nothing")


@functools.partial(jax.jit, static_argnames=("model", "rule"))
def saliency(
    model: Model, params: Params, state: State, mask: Mask, x: Array, rule: Rule = "conserved"
) -> Scores:
    """The scores, not normalised; ``x [1, ...]`` has the shape of an example."""
    params, state, ones = paths.wide((params, state, jnp.ones_like(x)))
    gradient = paths.path_gradient(model, params, state, mask, ones)
    return jax.tree.map(lambda theta, g: jnp.abs(theta) ** _POWER[rule] * g, params, gradient)
