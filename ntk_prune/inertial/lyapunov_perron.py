r"""The inertial manifold itself, as the fixed point of Lyapunov and Perron: tiny systems only.

``Phi(p) = Q V(0)``, where ``V`` on ``t <= 0`` solves, with ``F_r(V) = F(V min(1, r / |V|))``,

    V(t) = e^(-H_P t) p - int_t^0 e^(-H_P (t-s)) P F_r(V(s)) ds
                        + int_(-inf)^t e^(-H_Q (t-s)) Q F_r(V(s)) ds.

The map contracts in the weighted supremum norm if the gap exceeds four Lipschitz constants
(``inertial.gap``).
"""

import functools

import jax
import jax.numpy as jnp

from ntk_prune.inertial.systems import System
from ntk_prune.types import Array


def cut_off(v: Array, radius: float) -> Array:
    """The projection onto the ball, ``v min(1, radius / |v|)``, which is 1-Lipschitz."""
    norm = jnp.linalg.norm(v)
    return jnp.where(norm > radius, v * (radius / jnp.where(norm > 0, norm, 1)), v)


def lyapunov_perron(
    system: System,
    m: int,
    p: Array,
    *,
    radius: float = jnp.inf,
    num_points: int = 2001,
    tolerance: float = 1e-12,
    max_iterations: int = 100,
) -> Array:
    """``Phi(p) [d]`` by Picard's iteration, trapezoids on a grid of ``num_points`` backward times.

    The grid reaches back to where the weight ``exp(-gap t / 2)`` is below the ``tolerance``.

    Args:
        system: The system; its gap above eigenvalue ``m`` must be positive.
        m: Dimension of the slow space.
        p: A point of the slow space ``[d]``.
        radius: Outside this ball the remainder is cut off.
        num_points: Of the time grid; the error falls like its inverse square.
        tolerance: Where the iteration stops, relative to ``|p|``.
        max_iterations: At most so many.

    Raises:
        ValueError: where there is no gap above ``m``.
        FloatingPointError: when the iteration does not converge: the gap is too small.
    """
    system.split(m)  # checks m
    gap = float(system.rates[m] - system.rates[m - 1])
    if gap <= 0:
        raise ValueError(f"eigenvalues {m} and {m + 1} are equal: there is no gap")
    times = jnp.linspace(-2 * jnp.log(1 / tolerance) / gap, 0.0, num_points)
    scale = float(jnp.linalg.norm(p)) or 1.0
    coefficients = system.vectors.T @ p
    slow = jnp.exp(-times[:, None] * system.rates[None, :m]) * coefficients[None, :m]
    free = jnp.concatenate([slow, jnp.zeros((num_points, len(p) - m))], axis=1)
    path = free
    for _ in range(max_iterations):
        new = free + _integrals(system, m, radius, times, path)
        change = float(jnp.abs((new - path)[-1]).max())
        path = new
        if change <= 10 * tolerance * scale:
            return system.vectors[:, m:] @ path[-1, m:]
    raise FloatingPointError(
        f"no fixed point after {max_iterations} iterations (last change {change:.3g}): the gap "
        f"{gap:.3g} is too small for the remainder within radius {radius:g}"
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _forces(velocity, m: int, rates, vectors, radius, path):
    """``F_r`` along a path of eigen-coordinates ``[n, d]``: its slow and fast columns."""

    def force(z: Array) -> Array:
        v = cut_off(vectors @ z, radius)
        return rates * (vectors.T @ v) + vectors.T @ velocity(v)

    values = jax.vmap(force)(path)
    return values[:, :m], values[:, m:]


def _integrals(system: System, m: int, radius: float, times: Array, path: Array) -> Array:
    """Both integrals at every time ``[n, d]``, step by step, so that no exponential grows."""
    velocity, rates, vectors = system
    slow, fast = _forces(velocity, m, rates, vectors, radius, path)
    step = times[1] - times[0]
    backward = _trapezoids(jnp.exp(rates[:m] * step), slow[::-1], step)[::-1]
    forward = _trapezoids(jnp.exp(-rates[m:] * step), fast, step)
    # Before the grid the force is taken as constant: a term of the size of the tolerance.
    start = jnp.exp((times[0] - times)[:, None] * rates[None, m:]) * (fast[0] / rates[m:])[None]
    return jnp.concatenate([-backward, forward + start], axis=1)


def _trapezoids(decay: Array, force: Array, step: Array) -> Array:
    """``I_0 = 0``, ``I_(k+1) = decay I_k + step (decay f_k + f_(k+1)) / 2``."""

    def advance(total, pair):
        now, after = pair
        total = decay * total + step * (decay * now + after) / 2
        return total, total

    first = jnp.zeros_like(force[0])
    rest = jax.lax.scan(advance, first, (force[:-1], force[1:]))[1]
    return jnp.concatenate([first[None], rest])
