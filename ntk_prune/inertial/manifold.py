r"""Inertial manifolds of ``dV/dt = -H V + F(V)``: exact by Lyapunov-Perron, and approximate.

A manifold is a function ``phi: p [d] -> q [d]`` from slow directions to fast ones. All but
``lyapunov_perron`` see the flow through a ``Split`` and serve networks as well as small systems:

- ``order(split, j)``: ``q_(i+1) = H_QQ^-1 Q F(p + q_i)`` from ``q_0 = 0``. Order 0 freezes the fast
  directions at ``W*``, order 1 is that of Foias, Manley and Temam (1988); with a gradient at
  ``W*`` it includes the Newton step ``-H_QQ^-1 Q g*``.
- ``steady(split)``: their limit ``Q velocity(p + q) = 0``: the fast directions at the minimum of
  the loss given the slow ones, the profiled loss. Exact if the slow manifold consists of minima.
- ``dynamic(split, j)``: also counts how ``q`` moves with ``p``,
  ``q_(i+1) = H_QQ^-1 [Q F(p + q_i) - Dq_i(p) P velocity(p + q_i)]``; converges to the manifold.

As ``H`` is block diagonal in an eigenspace, ``H_QQ^-1 Q F(p + q) = q + H_QQ^-1 Q velocity(p + q)``,
a chord step of Newton's method; for coordinates that formula is the definition of the orders.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ntk_prune.inertial.split import Split
from ntk_prune.types import Array

Manifold = Callable[[Array], Array]


def _chord(split: Split, p: Array, q: Array) -> Array:
    """``q + H_QQ^-1 Q velocity(p + q)``."""
    return q + split.solve(split.velocity(p + q))


def order(split: Split, j: int) -> Manifold:
    """The approximate manifold of order ``j``; one gradient an order."""
    _check_order(j)

    def phi(p: Array) -> Array:
        q = jnp.zeros_like(p)
        for _ in range(j):
            q = _chord(split, p, q)
        return q

    return phi


def steady(split: Split, *, tolerance: float = 1e-10, max_steps: int = 200) -> Manifold:
    """The fast directions at equilibrium: chord steps until one is below ``tolerance`` (absolute,
    and not below the rounding of ``p``). NaN where they do not converge.

    A loop on the host, which takes any velocity but cannot be differentiated: use ``order`` there.
    """

    def phi(p: Array) -> Array:
        limit = max(tolerance, 10 * float(jnp.finfo(p.dtype).eps * jnp.linalg.norm(p)))
        q = jnp.zeros_like(p)
        for _ in range(max_steps):
            previous, q = q, _chord(split, p, q)
            if float(jnp.linalg.norm(q - previous)) <= limit:
                return q
        return jnp.full_like(p, jnp.nan)

    return phi


def dynamic(split: Split, j: int) -> Manifold:
    """The dynamic approximate manifold of order ``j``, which differentiates the velocity ``j - 1``
    times: for small systems and small ``j``, compiled by ``jax.jit``."""
    _check_order(j)
    if j == 0:
        return jnp.zeros_like
    previous = dynamic(split, j - 1)

    def phi(p: Array) -> Array:
        q, push = jax.linearize(previous, p)
        velocity = split.velocity(p + q)
        return q + split.solve(velocity - push(split.slow(velocity)))

    return phi


def inertial_form(split: Split, phi: Manifold) -> Callable[[Array], Array]:
    """The reduced flow on the slow directions, ``p -> dp/dt = P velocity(p + phi(p))``."""
    return lambda p: split.slow(split.velocity(p + phi(p)))


def invariance_residual(split: Split, phi: Manifold, p: Array) -> Array:
    """``Dphi(p) dp/dt - Q velocity(p + phi(p))`` ``[d]``: zero on an invariant manifold."""
    velocity = split.velocity(p + phi(p))
    moved = jax.jvp(phi, (p,), (split.slow(velocity),))[1]
    return moved - split.fast(velocity)


def slaving_residual(split: Split, phi: Manifold, v: Array) -> Array:
    """``|Q V - phi(P V)| / |V|``: how far a point of a trajectory is from the graph."""
    return jnp.linalg.norm(split.fast(v) - phi(split.slow(v))) / jnp.linalg.norm(v)


def _check_order(j: int) -> None:
    if j < 0:
        raise ValueError(f"the order of a manifold is at least 0, got {j}")
