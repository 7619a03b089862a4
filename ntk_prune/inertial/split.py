"""A splitting of weight space into slow and fast directions, by eigenspaces or by coordinates."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from ntk_prune.types import Array

Map = Callable[[Array], Array]


class Split(NamedTuple):
    """``V = p + q`` with ``q = Q V``: what approximate manifolds are made of.

    Attributes:
        velocity: ``V [d] -> dV/dt [d]``, ``-grad L(W* + V)`` for a gradient flow.
        fast: ``V -> Q V [d]``, the orthogonal projection onto the fast directions.
        solve: ``r -> H_QQ^-1 Q r [d]``, within the fast directions.
    """

    velocity: Map
    fast: Map
    solve: Map

    def slow(self, v: Array) -> Array:
        """``P V = V - Q V``."""
        return v - self.fast(v)


def eigen_split(velocity: Map, rates: Array, vectors: Array) -> Split:
    """The fast space spanned by eigenvectors ``[d, k]`` of the Hessian with ``rates [k]``."""

    def solve(r: Array) -> Array:
        return vectors @ ((vectors.T @ r) / rates)

    return Split(velocity, lambda v: vectors @ (vectors.T @ v), solve)


def coordinate_split(velocity: Map, kept: Array, hessian: Map, **cg) -> Split:
    """The kept coordinates are slow, the others fast; ``H_QQ^-1`` by conjugate gradients.

    The block of the Hessian on the pruned coordinates must be positive definite.

    Args:
        velocity: ``V [d] -> dV/dt [d]``.
        kept: Bool ``[d]``, the slow coordinates.
        hessian: ``V [d] -> H V [d]``, at a fixed point.
        cg: Passed to ``jax.scipy.sparse.linalg.cg``: ``tol``, ``maxiter``.
    """
    from jax.scipy.sparse.linalg import cg as conjugate_gradients

    def fast(v: Array) -> Array:
        return jnp.where(kept, 0, v)

    def solve(r: Array) -> Array:
        return conjugate_gradients(lambda v: fast(hessian(fast(v))), fast(r), **cg)[0]

    return Split(velocity, fast, solve)
