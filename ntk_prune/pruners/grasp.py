r"""GraSP: keep the gradient flow (Wang, Zhang, Grosse, arXiv 2002.07376).

With ``g`` the gradient and ``H`` the Hessian of the loss in the prunable weights,

    score = theta * (H g) / (|sum theta * (H g)| + 1e-10),    the largest are kept.

The paper scores ``-theta * (H g)`` and removes the highest; the published codes score as here and
prune the lowest: the same weights. The loss is the cross entropy of ``logits / temperature``.

Differs:
- ``g`` is the sum over all batches and ``H`` the Hessian of the summed loss, so the score does not
  depend on the order of the batches: ``H g = sum_b d/dtheta <dL_b/dtheta, g>`` with ``g`` fixed;
- ``H g`` is a forward derivative of the gradient, not a second backward pass; equal up to rounding.
"""

import functools

import jax
import jax.numpy as jnp

from ntk_prune import masks
from ntk_prune.pruners.common import (
    BatchNormMode,
    Schedule,
    Scope,
    abs_total,
    accumulate,
    add,
    batch_loss,
    check_batch_norm,
    check_positive,
    criterion,
    divide,
    make_pruner,
)
from ntk_prune.types import Array, Params, Pruner


@criterion
def grasp(
    num_rounds: int = 1,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
    batch_norm: BatchNormMode = "batch",
    temperature: float = 200.0,
) -> Pruner:
    """What each weight contributes to the squared norm of the gradient, ``theta * (H g)``.

    Args:
        temperature: Divides the logits; the published code takes 200.
    """
    check_batch_norm(batch_norm)
    check_positive(temperature=temperature)

    def score(key, model, params, state, mask, batches):
        del key
        network = (model, params, state, mask)

        def add_gradient(sums: Params, x: Array, y: Array) -> Params:
            return _add_gradient(sums, *network, x, y, batch_norm, temperature)

        g = accumulate(add_gradient, params, batches)

        def add_hessian_product(sums: Params, x: Array, y: Array) -> Params:
            return _add_hessian_product(sums, g, *network, x, y, batch_norm, temperature)

        flow = _times(accumulate(add_hessian_product, params, batches), params)
        # The normaliser only sets the scale: with batch norm the sum cancels to almost nothing.
        return divide(flow, abs_total(flow) + 1e-10, params)

    return make_pruner(score, num_rounds, schedule, scope)


def _gradient(model, params, state, mask, x, y, batch_norm, temperature):
    """``dL/dtheta`` of one batch in the prunable weights, as a function to differentiate."""

    def loss(params):
        pruned = masks.apply(params, mask)
        return batch_loss(model, pruned, state, x, y, batch_norm, temperature)

    return masks.only_prunable(jax.grad(loss)(params))


_jit = functools.partial(jax.jit, static_argnames=("model", "batch_norm"))


@_jit
def _add_gradient(sums, model, params, state, mask, x, y, batch_norm, temperature):
    return add(sums, _gradient(model, params, state, mask, x, y, batch_norm, temperature))


@_jit
def _add_hessian_product(sums, g, model, params, state, mask, x, y, batch_norm, temperature):
    """``sums + H_b g``; ``g`` is zero where not prunable, so only prunable weights move."""

    def gradient(params):
        return _gradient(model, params, state, mask, x, y, batch_norm, temperature)

    return add(sums, jax.jvp(gradient, (params,), (g,))[1])


@jax.jit
def _times(hessian_product, params):
    return jax.tree.map(jnp.multiply, hessian_product, params)
