r"""The reduced system: what trains, what follows, and how far real training is from slaving.

Optimisers here wrap another one, so that the one training loop runs them:
``training.masked_updates`` leaves the pruned weights where they are, ``slaved`` lets them follow
the kept ones, ``projected`` keeps updates on or off a dominant eigenspace, the control of Song, Ahn
and Yun (arXiv 2405.16002): on it SGD stalls, off it SGD trains.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntk_prune.coordinates import Coordinates
from ntk_prune.inertial.manifold import Manifold, inertial_form
from ntk_prune.inertial.split import Split
from ntk_prune.linalg import Estimate
from ntk_prune.training import masked_updates
from ntk_prune.types import Array, Mask, Params

Rest = Literal["zeroed", "frozen", "slaved"]
Side = Literal["dominant", "bulk"]


def reduced_start(kept_from: Params, minimum: Params, mask: Mask, rest: Rest) -> Params:
    """The weights from which the reduced system starts.

    Args:
        kept_from: Kept weights: ``W0``, as in the lottery, or ``W*``; the theory says neither.
        minimum: ``W*``, at which ``"frozen"`` leaves the pruned weights and ``"slaved"`` lets them
            start, the two of the theory; ``"zeroed"``, what pruning means, moves off the manifold
            by their norm.
        mask: Which weights are kept.
        rest: Where the pruned weights are.
    """
    if rest not in get_args(Rest):
        raise ValueError(f"unknown rest {rest!r}; choose one of {', '.join(get_args(Rest))}")

    def leaf(kept: Array, star: Array, m: Array) -> Array:
        return jnp.where(m, kept, jnp.zeros_like(star) if rest == "zeroed" else star)

    return jax.tree.map(leaf, kept_from, minimum, mask)


def slaved(
    optimizer: optax.GradientTransformation,
    mask: Mask,
    value: Callable[[Params], Array],
    num_steps: int,
) -> optax.GradientTransformation:
    """``optimizer`` within ``mask``; after each update the others go to a minimum given the kept.

    The nonlinear Galerkin method on the steady manifold ``q(p) = argmin_q L(p + q)``, with ``q``
    followed from its last value by L-BFGS, which needs no positive definite Hessian. Train with a
    dense mask.

    Args:
        optimizer: The rule of the kept weights.
        mask: The kept weights.
        value: ``L`` of the parameters, on fixed images: ``MaskedLoss.value``.
        num_steps: Steps of L-BFGS after each update; each takes one gradient or a few.
    """
    kept = masked_updates(optimizer, mask)

    def update(updates, state: Any, params: Any = None):
        updates, state = kept.update(updates, state, params)
        moved = optax.apply_updates(params, updates)
        followed = _minimise_rest(value, mask, moved, num_steps)
        return jax.tree.map(
            lambda m, u, f, p: jnp.where(m, u, f - p), mask, updates, followed, params
        ), state

    return optax.GradientTransformation(kept.init, update)


def _minimise_rest(
    value: Callable[[Params], Array], mask: Mask, params: Params, num_steps: int
) -> Params:
    """``params`` after steps of L-BFGS outside ``mask``."""

    def objective(free: Params) -> Array:
        return value(jax.tree.map(jnp.where, mask, params, free))

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry, _):
        free, state = carry
        reached, gradient = value_and_grad(free, state=state)
        updates, state = solver.update(
            gradient, state, free, value=reached, grad=gradient, value_fn=objective
        )
        return (optax.apply_updates(free, updates), state), None

    return jax.lax.scan(step, (params, solver.init(params)), length=num_steps)[0][0]


class Projection(NamedTuple):
    """State of ``projected``: replace ``basis`` to follow a moving eigenspace."""

    basis: Array
    inner: Any


def projected(
    optimizer: optax.GradientTransformation, coordinates: Coordinates, basis: Array, side: Side
) -> optax.GradientTransformation:
    """``optimizer`` with its updates projected on (dominant) or off (bulk) a space.

    Args:
        optimizer: The update rule, whose gradients are not projected.
        coordinates: Of the loss whose eigenvectors these are.
        basis: Orthonormal columns ``[size, k]``; held in the state as ``Projection.basis``.
        side: ``"dominant"`` or ``"bulk"``.
    """
    if side not in ("dominant", "bulk"):
        raise ValueError(f"unknown side {side!r}; choose one of dominant, bulk")

    def init(params: Params) -> Projection:
        return Projection(jnp.asarray(basis, coordinates.dtype), optimizer.init(params))

    def update(updates, state: Any, params=None):
        updates, inner = optimizer.update(updates, state.inner, params)
        vector = coordinates.vector(updates)
        onto = coordinates.tree(state.basis @ (state.basis.T @ vector))
        rest = jax.tree.map(jnp.subtract, updates, onto)
        return (onto if side == "dominant" else rest), Projection(state.basis, inner)

    return optax.GradientTransformation(init, update)


def galerkin(
    split: Split, phi: Manifold, p: Array, learning_rate: float, num_steps: int
) -> np.ndarray:
    """The reduced flow by Euler steps, the rest slaved: points ``p + phi(p)`` ``[T + 1, d]``.

    The nonlinear Galerkin method (Marion and Temam 1989): ``p' = p + eta P velocity(p + phi(p))``.
    With ``manifold.steady`` every step minimises over the fast part: small networks.

    Args:
        split: Eigenspaces, or coordinates: ``coordinate_split`` trains the kept ones.
        phi: A manifold of the same split.
        p: The start ``[d]``, projected on the slow part.
        learning_rate: ``eta``.
        num_steps: ``T``.
    """
    velocity = inertial_form(split, phi)
    p = split.slow(p)
    path = [p + phi(p)]
    for _ in range(num_steps):
        p = p + learning_rate * velocity(p)
        path.append(p + phi(p))
    return np.stack([np.asarray(v) for v in path])


def decay_rate(times: Array, residuals: Array) -> Estimate:
    """The rate ``nu`` of ``residuals ~ exp(-nu t)``, fitted to their logarithms.

    On a slow manifold trajectories are expected to approach it at a rate between
    ``lambda_(m+1) - L`` and ``lambda_d + L``. The standard error takes the points as independent,
    which those of one trajectory are not: it understates.

    Args:
        times: ``[n]``, in units of the flow (steps times the learning rate).
        residuals: ``manifold.slaving_residual`` there ``[n]``, positive.

    Raises:
        ValueError: for fewer than 3 points or a residual that has no logarithm.

    >>> decay = decay_rate([0.0, 1.0, 2.0], np.exp([0.0, -0.5, -1.0]))
    >>> round(decay.value, 6), round(decay.sem, 6), decay.n
    (0.5, 0.0, 3)
    """
    times, residuals = np.asarray(times, np.float64), np.asarray(residuals, np.float64)
    if len(times) < 3 or not (np.isfinite(residuals) & (residuals > 0)).all():
        raise ValueError("a decay needs at least 3 positive residuals")
    line, covariance = np.polyfit(times, np.log(residuals), 1, cov=True)
    return Estimate(-float(line[0]), float(np.sqrt(covariance[0, 0])), len(times))
