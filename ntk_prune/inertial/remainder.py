r"""How far the gradient is from linear around ``W*``: lower bounds, and certificates of masks.

``F(V) = H V - grad L(W* + V)`` has the derivative ``H - Hess L(W* + V)``, so on a ball of radius
``r`` its Lipschitz constant is the supremum of the norm of that difference. What is computed at
some points of the ball is a lower bound of it: a gap condition that fails with it fails, one that
holds with it may still fail. With ReLUs the Hessian jumps between the linear pieces of a network
and sees nothing of the kinks, which difference quotients of ``F`` at the scale ``r`` do.
"""

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
    here = loss.hessian()
    norms = []
    for k, u in zip(jax.random.split(key, len(unit_vectors)), unit_vectors, strict=True):
        norms.append(_norm(k, loss.hessian(loss.w0 + radius * u) - here, num_steps))
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
    extreme one once Lanczos has converged.

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
    alphas, betas = [], []
    for k, v in zip(jax.random.split(key, len(points)), points, strict=True):
        hessian = loss.hessian(loss.w0 + v)
        slow, fast = block(hessian, kept), block(hessian, ~kept)
        upper = extreme_eigenpairs(k, slow, top=1, bottom=0, num_steps=num_steps).top
        lower = extreme_eigenpairs(k, fast, top=0, bottom=1, num_steps=num_steps).bottom
        alphas.append(float(upper.values[0] + upper.residuals[0]))
        betas.append(float(lower.values[0] - lower.residuals[0]))
    return Certificate(max(alphas), min(betas), len(points))


def block(operator: SymmetricOperator, chosen: Array) -> SymmetricOperator:
    """The diagonal block of ``operator`` on the coordinates ``chosen`` (bool ``[size]``)."""
    positions = np.flatnonzero(chosen)
    zeros = jnp.zeros(operator.size, operator.dtype)

    def matvec(v: Array) -> Array:
        return operator.matvec(zeros.at[positions].set(v))[positions]

    return SymmetricOperator(matvec, positions.size, operator.dtype)
