r"""How far the gradient is from linear around ``W*``: lower bounds, and certificates of masks.

``F(V) = H V - grad L(W* + V)`` has the derivative ``H - Hess L(W* + V)``, so on a ball of radius
``r`` its Lipschitz constant is the supremum of the norm of that difference. What is computed at
some points of the ball is a lower bound of it: a gap condition that fails with it fails, one that
holds with it may still fail. With ReLUs the Hessian jumps between the linear pieces of a network
and sees nothing of the kinks, which difference quotients of ``F`` at the scale ``r`` do.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.inertial.gap import Certificate
from ntk_prune.inertial.point import Landscape
from ntk_prune.linalg import SymmetricOperator, extreme_eigenpairs
from ntk_prune.types import Array, Key


class LowerBound(NamedTuple):
    """The largest of ``samples [n]``, each a lower bound of a Lipschitz constant."""

    value: float
    samples: np.ndarray


def directions(key: Key, loss: Landscape, num_random: int, *others: Array) -> Array:
    """Unit vectors ``[n, size]`` to look along: random ones, the gradient's both ways, and both
    ways every column of ``others`` ``[size, k]``, such as top eigenvectors or a training path."""
    random = jax.random.normal(key, (num_random, loss.size), loss.w0.dtype)
    columns = [loss.value_and_gradient()[1][:, None], *map(jnp.asarray, others)]
    rows = jnp.concatenate(columns, axis=1).T.astype(random.dtype)
    stacked = jnp.concatenate([random, rows, -rows])
    norms = jnp.linalg.norm(stacked, axis=1, keepdims=True)
    return stacked / jnp.where(norms > 0, norms, 1)


def hessian_change(
    key: Key, loss: Landscape, radius: float, unit_vectors: Array, *, num_steps: int = 10
) -> LowerBound:
    """``max_u |Hess L(W* + r u) - H|`` over ``unit_vectors [n, size]``, by Lanczos.

    Args:
        key: Draws the starts.
        loss: The loss about ``W*``.
        radius: ``r``.
        unit_vectors: See ``directions``.
        num_steps: Lanczos steps, of two Hessian products, each; Ritz values lie within the
            spectrum, so few of them leave a lower bound.
    """
    center = loss.hessian()
    norms = []
    for k, u in zip(jax.random.split(key, len(unit_vectors)), unit_vectors, strict=True):
        norms.append(_norm(k, loss.hessian(loss.w0 + radius * u) - center, num_steps))
    return LowerBound(max(norms), np.array(norms))


def _norm(key: Key, operator: SymmetricOperator, num_steps: int) -> float:
    """The spectral norm, from below."""
    ends = extreme_eigenpairs(
        key, operator, top=1, bottom=min(1, operator.size - 1), num_steps=num_steps
    )
    return float(max(np.abs(pairs.values).max(initial=0.0) for pairs in ends))


def difference_quotients(key: Key, loss: Landscape, radius: float, num_pairs: int) -> LowerBound:
    """``max |F(V1) - F(V2)| / |V1 - V2|`` over random pairs on the sphere of ``radius``."""
    hessian = loss.hessian().matvec
    spheres = jax.random.normal(key, (num_pairs, 2, loss.size), loss.w0.dtype)
    quotients = []
    for pair in spheres:
        v1, v2 = (radius * v / jnp.linalg.norm(v) for v in pair)
        gradients = (loss.value_and_gradient(loss.w0 + v)[1] for v in (v1, v2))
        change = hessian(v1 - v2) - next(gradients) + next(gradients)
        quotients.append(float(jnp.linalg.norm(change) / jnp.linalg.norm(v1 - v2)))
    return LowerBound(max(quotients), np.array(quotients))


def mask_certificate(
    key: Key, loss: Landscape, kept: Array, points: Array, *, num_steps: int = 40
) -> Certificate:
    """``gap.coordinate_certificate`` without matrices: extreme eigenvalues of the blocks.

    Each Ritz value is moved outwards by its residual: an eigenvalue lies between, and it is the
    extreme one once Lanczos has converged. The first point at which it fails is the last.

    Args:
        key: Draws the starts.
        loss: The loss about ``W*``.
        kept: Bool ``[size]``: the coordinates that are slow; the others are fast.
        points: ``V [n, size]``, where the Hessian is taken; zero is ``W*`` itself.
        num_steps: Lanczos steps an eigenvalue.

    Raises:
        ValueError: when all coordinates are kept, or none.
    """
    kept = np.asarray(kept, bool)
    if kept.all() or not kept.any():
        raise ValueError("a certificate needs kept coordinates and pruned ones")

    def bounds(key: Key, hessian: SymmetricOperator) -> tuple[float, float]:
        fast = block(hessian, ~kept)
        lower = extreme_eigenpairs(key, fast, top=0, bottom=1, num_steps=num_steps).bottom
        beta = float(lower.values[0] - lower.residuals[0])
        return _largest(key, block(hessian, kept), num_steps), beta

    return _certificate(key, loss, points, bounds)


def eigenspace_certificate(
    key: Key, loss: Landscape, fast: Array, points: Array, *, num_steps: int = 40
) -> Certificate:
    """``gap.certificate`` without matrices, for the few columns of ``fast`` and their complement.

    ``beta`` is exact, ``alpha`` a Ritz value moved outwards as in ``mask_certificate``.

    Args:
        key: Draws the starts.
        loss: The loss about ``W*``.
        fast: Orthonormal columns ``[size, k]``, such as top eigenvectors at ``W*``.
        points: ``V [n, size]``, where the Hessian is taken; zero is ``W*`` itself.
        num_steps: Lanczos steps.
    """
    basis = jnp.asarray(fast)

    def bounds(key: Key, hessian: SymmetricOperator) -> tuple[float, float]:
        products = jnp.stack([hessian.matvec(q) for q in basis.T], axis=1)
        values = np.linalg.eigvalsh(np.asarray(basis.T @ products, np.float64))
        # Below what the complement can have, so that its largest eigenvalue is the largest.
        moved = 2 * float(np.abs(values).max()) + 1

        def matvec(v: Array) -> Array:
            onto = basis.T @ v
            product = hessian.matvec(v - basis @ onto)
            return product - basis @ (basis.T @ product) - moved * (basis @ onto)

        slow = SymmetricOperator(matvec, hessian.size, hessian.dtype)
        return _largest(key, slow, num_steps), float(values[0])

    return _certificate(key, loss, points, bounds)


def _certificate(
    key: Key,
    loss: Landscape,
    points: Array,
    bounds: Callable[[Key, SymmetricOperator], tuple[float, float]],
) -> Certificate:
    """``alpha`` and ``beta`` over the points, up to the first at which they meet."""
    alphas, betas = [], []
    for k, v in zip(jax.random.split(key, len(points)), points, strict=True):
        alpha, beta = bounds(k, loss.hessian(loss.w0 + v))
        alphas.append(alpha)
        betas.append(beta)
        if max(alphas) >= min(betas):
            break
    return Certificate(max(alphas), min(betas), len(alphas))


def _largest(key: Key, operator: SymmetricOperator, num_steps: int) -> float:
    """An upper bound of the largest eigenvalue, once Lanczos has converged."""
    pairs = extreme_eigenpairs(key, operator, top=1, bottom=0, num_steps=num_steps).top
    return float(pairs.values[0] + pairs.residuals[0])


def block(operator: SymmetricOperator, chosen: Array) -> SymmetricOperator:
    """The diagonal block of ``operator`` on the coordinates ``chosen`` (bool ``[size]``)."""
    positions = np.flatnonzero(chosen)
    zeros = jnp.zeros(operator.size, operator.dtype)

    def matvec(v: Array) -> Array:
        return operator.matvec(zeros.at[positions].set(v))[positions]

    return SymmetricOperator(matvec, positions.size, operator.dtype)
