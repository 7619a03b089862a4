"""The point ``W*`` about which training is a dynamical system, and losses as flat functions."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntk_prune.inertial.split import Split, eigen_split
from ntk_prune.landscape import batch_statistics
from ntk_prune.landscape.hessian import MaskedLoss
from ntk_prune.linalg import Eigenpairs, SymmetricOperator
from ntk_prune.training import Examples, create, make_train_step
from ntk_prune.training.state import TrainState
from ntk_prune.types import Array, Batch, Mask, Model, Params, State


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionLoss:
    """Any smooth ``function(w [d]) -> scalar`` about ``w0``, derived like a ``MaskedLoss``.

    >>> loss = FunctionLoss(lambda w: (w[0] * w[1] - 1) ** 2 / 2, jnp.ones(2))
    >>> loss.hessian().dense().tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    function: Callable[[Array], Array]
    w0: Array

    @property
    def size(self) -> int:
        return self.w0.size

    def value_and_gradient(self, w: Array | None = None) -> tuple[float, Array]:
        value, gradient = _value_and_gradient(self.function, self.w0 if w is None else w)
        return float(value), gradient

    def hessian(self, w: Array | None = None) -> SymmetricOperator:
        point = self.w0 if w is None else w

        def matvec(v: Array) -> Array:
            return _hessian_product(self.function, point, v)

        return SymmetricOperator(matvec, self.size, self.w0.dtype)


@functools.partial(jax.jit, static_argnames="function")
def _value_and_gradient(function, w):
    return jax.value_and_grad(function)(w)


@functools.partial(jax.jit, static_argnames="function")
def _hessian_product(function, w, v):
    return jax.jvp(jax.grad(function), (w,), (v,))[1]


Landscape = MaskedLoss | FunctionLoss
"""A loss of flat vectors about ``w0``, with its gradient and its Hessian."""


class Point(NamedTuple):
    """``W*``: unmasked parameters, and batch norm's statistics there."""

    params: Params
    state: State


def approximate_minimum(
    model: Model,
    params: Params,
    state: State,
    mask: Mask,
    batches: Batch,
    optimizer: optax.GradientTransformation,
    num_steps: int = 10,
) -> Point:
    """``W*`` after ``num_steps`` of training, step ``t`` on batch ``t mod n``.

    Batch norm normalises by each batch; its running statistics are then estimated anew as means
    over the batches, so that what follows can hold them fixed.

    Raises:
        FloatingPointError: when the steps diverge.
    """
    trained = create(params, state, mask, optimizer)
    for t in range(num_steps):
        i = t % len(batches.x)
        trained = _step(model, optimizer, trained, batches.x[i], batches.y[i])
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.params)):
        raise FloatingPointError(
            f"the weights are not finite after {num_steps} steps: lower the learning rate"
        )
    return Point(trained.params, batch_statistics(model, trained.params, state, batches.x))


@functools.partial(jax.jit, static_argnames=("model", "optimizer"))
def _step(model: Model, optimizer, trained: TrainState, x: Array, y: Array) -> TrainState:
    step = make_train_step(model, optimizer, lambda *inputs: inputs[-1])
    return step(trained, Examples(x, y, jnp.arange(len(x)), jax.random.key(0)), None)[0]


def check_finite(loss: Landscape, operator: SymmetricOperator) -> None:
    """Raise FloatingPointError unless the gradient at ``w0`` and the product of ``operator``, the
    Hessian or Gauss-Newton matrix there, with its direction are finite."""
    gradient = loss.value_and_gradient()[1]
    product = operator.matvec(gradient / (jnp.linalg.norm(gradient) + 1e-30))
    for name, vector in (("gradient", gradient), ("second derivative", product)):
        bad = int((~np.isfinite(vector)).sum())
        if bad:
            raise FloatingPointError(
                f"{bad} of {loss.size} entries of the {name} are not finite at W*: take fewer "
                "steps or a smaller learning rate, or look for bad inputs"
            )


def fast_split(loss: Landscape, fast: Eigenpairs) -> Split:
    """Gradient flow about ``w0``, split into ``fast`` eigenpairs of its Hessian and the rest."""

    def velocity(v: Array) -> Array:
        return -loss.value_and_gradient(loss.w0 + v)[1]

    dtype = loss.w0.dtype
    return eigen_split(velocity, jnp.asarray(fast.values, dtype), jnp.asarray(fast.vectors, dtype))
