r"""Gradient flow about a point as a dynamical system, and five systems with known manifolds.

With ``V = W - W*``, ``H`` the Hessian of the loss at ``W*`` and ``g*`` its gradient there,

    dV/dt = velocity(V) = -H V + F(V),    F(V) = H V - grad L(W* + V),    F(0) = -g*.

The eigenvectors of the ``m`` smallest eigenvalues span the slow space ``P``, the others the fast
space ``Q``. Where the gap between eigenvalues ``m`` and ``m + 1`` exceeds what the Lipschitz
constant of ``F`` allows (``inertial.gap``), trajectories are drawn to a graph ``q = Phi(p)`` over
the slow space, the inertial manifold; ``inertial.manifold`` approximates it.

A manifold can be seen in two dimensions. Trajectories of ``quadratic(a, b, c)`` fall onto the
parabola ``y = c x^2 / (b - 2a)`` at the rate ``b``, and approximations of rising order reach it:

>>> from ntk_prune.inertial import manifold
>>> system = quadratic(a=0.3, b=2.0, c=1.5)
>>> p = jnp.array([1.0, 0.0])
>>> [round(float(manifold.steady(system.split(1))(p)[1]), 4)]
[0.75]
>>> [round(float(manifold.dynamic(system.split(1), j)(p)[1]), 4) for j in (1, 2, 3)]
[0.75, 0.975, 1.0425]
>>> end = flow(system.velocity, [1.0, 1.0], [0.0, 6.0])[-1]
>>> round(float(end[1] / end[0] ** 2), 3)
1.071
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.inertial.split import Split, eigen_split
from ntk_prune.types import Array

Field = Callable[[Array], Array]


class System(NamedTuple):
    """``dV/dt = velocity(V)`` with linear part ``-H``, ``H = vectors diag(rates) vectors^T``.

    Attributes:
        velocity: ``V [d] -> dV/dt [d]``.
        rates: Eigenvalues of ``H`` ``[d]``, ascending.
        vectors: Their orthonormal eigenvectors, the columns of ``[d, d]``.
    """

    velocity: Field
    rates: Array
    vectors: Array

    def remainder(self, v: Array) -> Array:
        """``F(V) = H V + velocity(V)``."""
        return self.vectors @ (self.rates * (self.vectors.T @ v)) + self.velocity(v)

    def split(self, m: int) -> Split:
        """The slow space of the ``m`` smallest eigenvalues and its complement.

        Raises:
            ValueError: for ``m`` outside ``1..d-1``.
        """
        if not 1 <= m < len(self.rates):
            raise ValueError(f"m must lie in 1..{len(self.rates) - 1}, got {m}")
        return eigen_split(self.velocity, self.rates[m:], self.vectors[:, m:])


def gradient_flow(loss: Callable[[Array], Array], point: Array) -> System:
    """The gradient flow of ``loss`` about ``point [d]``, by a dense Hessian: small ``d``."""
    rates, vectors = jnp.linalg.eigh(jax.hessian(loss)(point))
    return System(lambda v: -jax.grad(loss)(point + v), rates, vectors)


def flow(velocity: Field, start: Sequence[float] | Array, times: Sequence[float]) -> np.ndarray:
    """The trajectory ``[T, d]`` from ``start`` at ``times``, times[0] included, by scipy's DOP853
    to the accuracy of the field's type."""
    from scipy.integrate import solve_ivp

    field = jax.jit(velocity)
    tolerance = max(float(jnp.finfo(jnp.zeros(()).dtype).eps), 1e-13)
    result = solve_ivp(
        lambda _, v: np.asarray(field(jnp.asarray(v)), np.float64),
        (times[0], times[-1]),
        np.asarray(start, np.float64),
        "DOP853",
        times,
        rtol=tolerance,
        atol=tolerance,
    )
    return result.y.T


def quadratic(a: float, b: float, c: float) -> System:
    """``x' = -a x``, ``y' = -b y + c x^2``: the manifold is ``y = c x^2 / (b - 2a)``.

    ``y - Phi(x)`` falls exactly like ``exp(-b t)``. At ``b = 2a`` the manifold is
    ``-(c / a) x^2 ln|x|``, once differentiable only; for ``b < a`` it no longer attracts. It is no
    gradient flow. On ``|V| <= r`` the remainder's Lipschitz constant is ``2 |c| r``.
    """

    def velocity(v: Array) -> Array:
        return jnp.stack([-a * v[0], -b * v[1] + c * v[0] ** 2])

    return System(velocity, jnp.array([a, b]), jnp.eye(2))


def two_weights(s: float) -> System:
    """The two-layer scalar network ``L(u, v) = (u v - s)^2 / 2`` about ``u = v = sqrt(s)``.

    Its eigenvalues are 0 and ``2 s``; the slow manifold is the curve of minima ``u v = s``, and
    ``u^2 - v^2`` is conserved. See ``two_weights_graph`` and ``two_weights_limit``.
    """

    def loss(w: Array) -> Array:
        return (w[0] * w[1] - s) ** 2 / 2

    return gradient_flow(loss, jnp.full(2, s**0.5))


def two_weights_graph(s: float, p: float) -> float:
    """``q = sqrt(2 s + p^2) - sqrt(2 s)`` with ``p = (u - v)/sqrt 2``, ``q = (u + v)/sqrt 2``.

    >>> round(two_weights_graph(1.0, 0.4), 7)
    0.0554803
    """
    return (2 * s + p**2) ** 0.5 - (2 * s) ** 0.5


def two_weights_limit(s: float, u: float, v: float) -> tuple[float, float]:
    """Where the gradient flow from ``(u, v)`` with ``u + v > 0`` ends.

    >>> [round(w, 6) for w in two_weights_limit(1.0, 1.7, 0.9)]
    [1.575682, 0.634646]
    """
    conserved = (u**2 - v**2) / 2
    p = np.sign(conserved) * np.sqrt(-s + np.hypot(s, conserved))
    q = np.sqrt(2 * s + p**2)
    return float((q + p) / np.sqrt(2)), float((q - p) / np.sqrt(2))


def coupled(a: float, b: float, k: float) -> System:
    """``L = a x^2 / 2 + b y^2 / 2 - k x^2 y / 2``: ``Phi = k x^2 / (2 (b - 2a)) + O(x^4)``."""

    def loss(w: Array) -> Array:
        return (a * w[0] ** 2 + b * w[1] ** 2 - k * w[0] ** 2 * w[1]) / 2

    return gradient_flow(loss, jnp.zeros(2))


def failing_gap(a: float, b: float, s: float) -> System:
    """``H = diag(a, b)`` and ``F = diag(-s, s) V``, whose Lipschitz constant is ``s``.

    The rates become ``a + s`` and ``b - s``: the axis ``y = 0`` stops attracting exactly where the
    gap is ``b - a = 2 s``, so that the constant 2 of the gap condition cannot be improved.
    """
    rates = jnp.array([a, b])
    return System(lambda v: -(rates + jnp.array([s, -s])) * v, rates, jnp.eye(2))


def two_layer_linear(singular_values: Sequence[float], hidden: int) -> System:
    """``L = |W2 W1 - S|^2 / 2`` about a balanced minimum, with ``S = diag(singular_values)``.

    Flat vectors hold ``W1 [hidden, n]`` and then ``W2 [n, hidden]``, ``hidden >= n``. The Hessian
    has the eigenvalues ``sigma_i + sigma_j`` for all ``i, j`` and zeros besides; the slow manifold
    is the set of minima, and ``W1 W1^T - W2^T W2`` is conserved.

    Raises:
        ValueError: for a hidden layer narrower than the target.
    """
    sigma = jnp.asarray(singular_values)
    n = len(sigma)
    if hidden < n:
        raise ValueError(f"hidden must be at least {n}, the size of the target, got {hidden}")
    w1 = jnp.zeros((hidden, n)).at[:n].set(jnp.diag(jnp.sqrt(sigma)))

    def loss(w: Array) -> Array:
        first, second = two_layers(w, n, hidden)
        return jnp.sum((second @ first - jnp.diag(sigma)) ** 2) / 2

    return gradient_flow(loss, jnp.concatenate([w1.ravel(), w1.T.ravel()]))


def two_layers(w: Array, n: int, hidden: int) -> tuple[Array, Array]:
    """``W1 [hidden, n]`` and ``W2 [n, hidden]`` of a flat vector of ``two_layer_linear``."""
    return w[: hidden * n].reshape(hidden, n), w[hidden * n :].reshape(n, hidden)
