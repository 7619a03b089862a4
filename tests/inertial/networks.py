"""A network of 83 weights near a minimum, dense derivatives of it, and the two-weight network."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntk_prune import masks
from ntk_prune.inertial.point import FunctionLoss, approximate_minimum
from ntk_prune.landscape.hessian import MaskedLoss
from ntk_prune.models import mlp
from ntk_prune.types import Batch

KEY = jax.random.key(3)


class Network(NamedTuple):
    """A masked loss about the weights after some steps, and its Hessian's eigenpairs, ascending."""

    loss: MaskedLoss
    hessian: np.ndarray
    values: np.ndarray
    vectors: np.ndarray


def batches():
    """Two batches of ten examples with labels that four inputs explain."""
    x = jax.random.normal(KEY, (2, 10, 4), jnp.float64)
    return Batch(x, (x[..., 0] > 0).astype(int) + (x[..., 1] > 0.5).astype(int))


def masked_loss(num_steps, *, density=1.0, activation="softplus", wrt="all"):
    """The loss after ``num_steps`` full batches of SGD; call it in float64."""
    model = mlp((6, 5), 3, activation)
    both = batches()
    params, state = model.init(KEY, both.x[0])
    params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
    scores = jax.tree.map(jnp.abs, params)
    mask = masks.keep_top(scores, masks.ones_like(params), density)
    whole = Batch(both.x.reshape(1, 20, 4), both.y.reshape(1, 20))
    point = approximate_minimum(model, params, state, mask, whole, optax.sgd(0.1), num_steps)
    return MaskedLoss(model, point.params, point.state, mask, both, batch_norm="running", wrt=wrt)


@functools.cache
def network(num_steps=10) -> Network:
    with jax.enable_x64(True):
        loss = masked_loss(num_steps)
        hessian = loss.hessian().dense()
        return Network(loss, hessian, *np.linalg.eigh(hessian))


def two_weights():
    """``(u v - 1)^2 / 2`` about its symmetric minimum."""
    return FunctionLoss(_two_weights, jnp.ones(2))


def _two_weights(w):
    return (w[0] * w[1] - 1) ** 2 / 2
