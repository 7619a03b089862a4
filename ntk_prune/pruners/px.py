r"""Path exclusion, PX (Iurada, Ciccone, Tommasi, CVPR 2024, arXiv 2406.01820).

    R = sum_{b,k} |J_v^{f_k}(x_b)|^2 sum_{p -> k} v_p^2,    score = theta^2 dR/d(theta^2),

a bound of the kernel's trace: the paths that an example opens, times the values of all paths
(``pruners.paths``). ``R`` is linear in the first factor and the second does not see the data, so
one gradient on one example of ones is all that a round differentiates. The data enter only as one
weight per output, ``sum_b |J_v^{f_k}(x_b)|^2``. While the last layer is dense all these weights are
equal, so PX ranks as SynFlow-L2.

Differs:
- the published code has three rules in its history, with ``g = dR/d(theta^2)``: ``|theta|^5 |g|``
  (the release, whose kernels of ones are never filled in), ``theta^2 sum_b g_b^2``, and last
  ``theta^2 |g|``, which is the one here. Which of them made the paper's numbers is not known;
- there batch norm normalises both factors by their own batch statistics, under which the scores of
  the convolution before it sum to zero and float32 leaves round-off; here it is the affine map of
  its running statistics, shift dropped: slopes squared in the path values and 1 in the activations
  (``batch_norm="affine"``), or 1 in both (``"ignore"``);
- there the last layer ("fc") is neither squared nor filled with ones, convolution biases are kept
  and become paths of their own, and a max pool stays one; here the last layer is a layer like the
  others, biases are dropped, and a max pool passes its recorded winner in the activations and sums
  its window in the path values, because every entry of a window is on a path;
- the path values are computed for one example, not repeated for a batch, and in float64, since the
  activations grow like the fan-in to the power of the depth, whatever type the network computes in
  (the gates are its own). Scores are normalised, ranks unchanged.
"""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from ntk_prune.activations import Slope
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

Slopes = Literal["affine", "ignore"]
_SLOPES: dict[str, Slope] = {"affine": jnp.square, "ignore": jnp.ones_like}


@criterion
def px(
    num_rounds: int = 100,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    batch_norm: Slopes = "affine",
) -> Pruner:
    """The share of each connection in a bound of the NTK's trace, by paths.

    Args:
        batch_norm: Batch norm's slopes belong to the values of paths (affine), or not (ignore).
    """
    check_choice(get_args(Slopes), batch_norm=batch_norm)

    def score(key, model, params, state, mask, batches):
        del key
        with jax.enable_x64(True):
            shares = saliency(model, params, state, mask, batches.x, batch_norm)
            return normalise(shares, params)

    return make_pruner(score, num_rounds, schedule, scope, follows_paths=True)


def saliency(
    model: Model, params: Params, state: State, mask: Mask, x: Array, batch_norm: Slopes = "affine"
) -> Scores:
    """The scores, not normalised, of the batches ``x [n, B, ...]``."""
    z1 = sum(_activation_factor(model, params, state, mask, batch) for batch in x)
    return _shares(model, params, state, mask, x[0, :1], z1, batch_norm)


_activation_factor = jax.jit(paths.activation_factor, static_argnames="model")


@functools.partial(jax.jit, static_argnames=("model", "batch_norm"))
def _shares(model, params, state, mask, x, weight, batch_norm):
    params, state, ones = paths.wide((params, state, jnp.ones_like(x)))
    slope = _SLOPES[batch_norm]
    gradient = paths.path_gradient(model, params, state, mask, ones, weight, slope)
    return jax.tree.map(lambda theta, g: jnp.square(theta) * g, params, gradient)
