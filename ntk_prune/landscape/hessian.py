"""The loss around a masked network: gradient, Hessian and Gauss-Newton matrix as operators.

``MaskedLoss(model, params, state, mask, batches, batch_norm=...)`` is the mean loss

    L(w) = 1/N sum_i loss(f(x_i; w), y_i),        N labelled entries in the fixed ``batches``,

as a function of the vector ``w [size]`` of the kept coordinates (of all leaves, or of those that
``wrt`` chooses). Pruned coordinates stay zero and are not part of ``w``: without that, they would
have no gradient but non-zero rows in the Hessian. Weight decay is not part of ``L``.

    ends = linalg.extreme_eigenpairs(key, loss.hessian(), top=5, bottom=5)
    linalg.trace(key, loss.hessian(), 100)             # value, standard error, n
    linalg.diagonal(key, loss.hessian(), 100)
    linalg.spectral_density(key, loss.hessian())
    loss.coordinates.tree(ends.top.vectors[:, 0])      # a tree like the parameters

* Hessian ``H = d^2 L / dw^2``, one product by forward over reverse mode.
* Gauss-Newton ``G = 1/N sum_i J_i^T H_i J_i``, with ``J_i`` the Jacobian of the logits and ``H_i``
  the Hessian of the loss in the logits (Schraudolph, 2002); positive semi-definite for a loss that
  is convex in the logits, and for those equal to the Fisher matrix of cross entropy.

``batch_norm="running"`` normalises by the stored statistics, so that an example's loss depends on
that example alone; ``"batch"`` normalises each batch by its own statistics, through which the
derivatives pass. The two differ by large factors: state which one a number belongs to.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import losses, masks
from ntk_prune.coordinates import Coordinates, Wrt, coordinates
from ntk_prune.linalg import SymmetricOperator
from ntk_prune.losses import Loss
from ntk_prune.types import Array, Batch, BatchNormMode, Mask, Model, Params, State


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedLoss:
    """The mean loss of ``f(params * mask)`` over ``batches`` as a function of ``w``; see above.

    Args:
        model: The network.
        params: Where the derivatives are taken by default, ``w_0``; masked here.
        state: Running statistics, which stay as they are.
        mask: A boolean tree like ``params``.
        batches: ``x [n, B, ...]`` and ``y [n, B, ...]``, each batch one pass.
        batch_norm: ``"running"`` or ``"batch"``.
        wrt: The leaves that ``w`` runs over: ``"all"``, ``"prunable"`` or a tree of bools.
        loss: Loss of a labelled entry.

    Raises:
        ValueError: for a mask, a ``wrt`` or a ``batch_norm`` that cannot be, or no labelled entry.
    """

    model: Model
    params: Params
    state: State
    mask: Mask
    batches: Batch
    _: dataclasses.KW_ONLY
    batch_norm: BatchNormMode
    wrt: Wrt = "all"
    loss: Loss = losses.cross_entropy

    def __post_init__(self):
        if self.batch_norm not in get_args(BatchNormMode):
            raise ValueError(f"batch_norm must be running or batch, got {self.batch_norm!r}")
        if self.num_labelled == 0:
            raise ValueError("no entry of the batches is labelled: there is no loss")
        _ = self.coordinates

    @functools.cached_property
    def coordinates(self) -> Coordinates:
        """Between vectors ``w`` and trees like the parameters."""
        return coordinates(self.params, self.mask, self.wrt)

    @functools.cached_property
    def num_labelled(self) -> int:
        """``N``: the labelled entries of all batches."""
        logits = _inference.eval_shape(
            self.model, self.params, self.state, jnp.asarray(self.batches.x[0])
        )
        return int(losses.labelled(np.asarray(self.batches.y), logits.shape[-1]).sum())

    @property
    def size(self) -> int:
        """Length of ``w``."""
        return self.coordinates.size

    @functools.cached_property
    def w0(self) -> Array:
        """The vector ``[size]`` of the parameters given."""
        return self.coordinates.vector(self.params)

    def params_at(self, w: Array | None = None) -> Params:
        """The masked parameters with ``w [size]`` at their kept coordinates; None for ``w_0``."""
        start = masks.apply(self.params, self.mask)
        if w is None:
            return start
        own = masks.apply(start, jax.tree.map(jnp.logical_not, self._is_in_w))
        return jax.tree.map(jnp.add, own, self.coordinates.tree(w))

    @functools.cached_property
    def _is_in_w(self) -> Mask:
        ones = self.coordinates.tree(jnp.ones(self.size, self.coordinates.dtype))
        return jax.tree.map(lambda leaf: leaf != 0, ones)

    def value_and_gradient(self, w: Array | None = None) -> tuple[float, Array]:
        """``L(w)`` and ``dL/dw [size]``."""
        params = self.params_at(w)
        value, gradient = self._sum(_add_value_and_gradient, (jnp.zeros(()), params), params)
        return float(value), self.coordinates.vector(gradient)

    def value(self, params: Params) -> Array:
        """``L`` at parameters like ``params``, masked here; it can be traced and derived."""
        params = masks.apply(params, self.mask)
        with jax.default_matmul_precision("highest"):
            shares = [
                _share(
                    self.loss, jnp.asarray(y), 1 / self.num_labelled,
                    _logits(self.model, self.batch_norm, self.state, jnp.asarray(x), params),
                )
                for x, y in zip(self.batches.x, self.batches.y, strict=True)
            ]  # fmt: skip
        return jnp.stack(shares).sum()

    def hessian(self, w: Array | None = None) -> SymmetricOperator:
        """``H(w) [size, size]``."""
        return self._operator(_add_hessian_product, w)

    def gauss_newton(self, w: Array | None = None) -> SymmetricOperator:
        """``G(w) [size, size]``."""
        return self._operator(_add_gauss_newton_product, w)

    def _operator(self, add_product: Callable, w: Array | None) -> SymmetricOperator:
        params = self.params_at(w)

        def matvec(v: Array) -> Array:
            tangent = self.coordinates.tree(v)
            return self.coordinates.vector(self._sum(add_product, params, params, tangent))

        return SymmetricOperator(matvec, self.size, self.coordinates.dtype)

    def _sum(self, add: Callable, like: Any, params: Params, *tangent: Params) -> Any:
        """``add`` over the batches, from zeros ``like`` a tree: a host loop, as XLA's CPU backend
        runs convolutions inside a scan several times slower."""
        total = jax.tree.map(jnp.zeros_like, like)
        fixed = (self.model, self.loss, self.batch_norm, 1 / self.num_labelled, self.state)
        with jax.default_matmul_precision("highest"):
            for x, y in zip(self.batches.x, self.batches.y, strict=True):
                total = add(total, *fixed, x, y, params, *tangent)
        return total


@functools.partial(jax.jit, static_argnames="model")
def _inference(model: Model, params: Params, state: State, x: Array) -> Array:
    return model.apply(params, state, x, train=False)[0]


def _logits(model: Model, batch_norm: str, state: State, x: Array, params: Params) -> Array:
    return model.apply(params, state, x, train=batch_norm == "batch")[0]


def _share(loss: Loss, y: Array, scale: Array | float, logits: Array) -> Array:
    """The share of a batch in the mean loss: the sum over its labelled entries, times ``1 / N``."""
    return (loss(logits, y) * losses.labelled(y, logits.shape[-1])).sum() * scale


_STATIC = ("model", "loss", "batch_norm")


@functools.partial(jax.jit, static_argnames=_STATIC)
def _add_value_and_gradient(total, model, loss, batch_norm, scale, state, x, y, params):
    def value(params: Params) -> Array:
        return _share(loss, y, scale, _logits(model, batch_norm, state, x, params))

    return jax.tree.map(jnp.add, total, jax.value_and_grad(value)(params))


@functools.partial(jax.jit, static_argnames=_STATIC)
def _add_hessian_product(total, model, loss, batch_norm, scale, state, x, y, params, tangent):
    def value(params: Params) -> Array:
        return _share(loss, y, scale, _logits(model, batch_norm, state, x, params))

    product = jax.jvp(jax.grad(value), (params,), (tangent,))[1]
    return jax.tree.map(jnp.add, total, product)


@functools.partial(jax.jit, static_argnames=_STATIC)
def _add_gauss_newton_product(total, model, loss, batch_norm, scale, state, x, y, params, tangent):
    logits_of = functools.partial(_logits, model, batch_norm, state, x)
    logits, push = jax.linearize(logits_of, params)
    gradient = jax.grad(functools.partial(_share, loss, y, scale))
    curved = jax.jvp(gradient, (logits,), (push(tangent),))[1]
    product = jax.linear_transpose(push, params)(curved)[0]
    return jax.tree.map(jnp.add, total, product)
