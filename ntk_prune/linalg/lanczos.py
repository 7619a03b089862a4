"""Lanczos: the ends of the spectrum, and the vectors that belong to them.

One run from one random vector finds both ends. Of each eigenspace it sees the single direction
along which the start vector lies, until all of these are exhausted; then it goes on from a new one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.linalg.operators import LinearMap, SymmetricOperator
from ntk_prune.types import Array, Key


class Eigenvalues(NamedTuple):
    """Ritz values, largest first, and for each the norm ``|A y - value y|`` of its residual.

    An eigenvalue lies within ``residual``, and the rounding of a product, of each value.
    """

    values: np.ndarray
    residuals: np.ndarray


class Eigenpairs(NamedTuple):
    """Ritz pairs from the end inwards: ``values [k]``, ``vectors [size, k]``, ``residuals [k]``.

    ``residuals`` are the norms ``|A y - value y|`` of unit vectors ``y``, by the Lanczos relation:
    exact but for the rounding of a product.
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray


class Extremes(NamedTuple):
    """The eigenpairs of the ``top``, largest first, and of the ``bottom``, smallest first."""

    top: Eigenpairs
    bottom: Eigenpairs


class Tridiagonal(NamedTuple):
    """``A Q = Q T + remainder e_m^T``: basis ``Q [size, m]``, ``T`` by diagonals, remainder."""

    basis: np.ndarray
    diagonal: np.ndarray
    off_diagonal: np.ndarray
    remainder: float

    @property
    def dense(self) -> np.ndarray:
        """``T [m, m]``."""
        off = self.off_diagonal
        return np.diag(self.diagonal) + np.diag(off, 1) + np.diag(off, -1)


class Condition(NamedTuple):
    """``largest / smallest`` Ritz value, and the residuals of both."""

    value: float
    largest: float
    smallest: float
    residuals: tuple[float, float]

    @property
    def converged(self) -> bool:
        """Whether both residuals are below 5 % of their Ritz value. Otherwise ``value`` is a lower
        bound alone, maybe by orders of magnitude: take more steps."""
        values = (self.largest, self.smallest)
        return all(r <= 0.05 * v for r, v in zip(self.residuals, values, strict=True))


def lanczos(
    operator: SymmetricOperator,
    start: Array,
    num_steps: int,
    *,
    on_device: bool | None = None,
    restarts: Key | None = None,
) -> Tridiagonal:
    """Lanczos with full reorthogonalisation from ``start [size]``; stops early when exhausted.

    An invariant subspace that holds ``start`` ends it, unless ``restarts`` are drawn: then it goes
    on from a random vector orthogonal to all before, with a zero in ``off_diagonal``.

    Args:
        operator: The symmetric matrix.
        start: First basis vector, not normalised.
        num_steps: Products, at most ``size``.
        on_device: One compiled loop (matfree) instead of one dispatch a product. The default is
            the compiled loop on an accelerator; XLA's CPU convolutions are slow inside loops.
        restarts: Draws the vectors to go on from, where the loop is not the compiled one.
    """
    num_steps = min(num_steps, start.size)
    if on_device is None:
        on_device = jax.default_backend() != "cpu"
    if on_device:
        return _lanczos_matfree(operator.matvec, start, num_steps)
    rng = None if restarts is None else _generator(restarts)
    return _lanczos_host(operator.matvec, start, num_steps, rng)


def _generator(key: Key) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.bits(key, (4,))))


def _lanczos_matfree(matvec: LinearMap, start: Array, num_steps: int) -> Tridiagonal:
    from matfree import decomp

    algorithm = decomp.tridiag_sym(num_steps, materialize=False, reortho="full", custom_vjp=False)
    basis, (diagonal, off), remainder, _ = jax.jit(lambda v: algorithm(matvec, v))(start)
    return Tridiagonal(
        np.asarray(basis).T,
        np.asarray(diagonal),
        np.asarray(off),
        float(jnp.linalg.norm(remainder)),
    )


def _lanczos_host(
    matvec: LinearMap, start: Array, num_steps: int, rng: np.random.Generator | None
) -> Tridiagonal:
    vector = np.asarray(start)
    basis = np.zeros((num_steps, vector.size), vector.dtype)
    diagonal, off = [], []
    norm = np.linalg.norm(vector)
    for step in range(num_steps):
        basis[step] = vector / norm
        vector = np.asarray(matvec(jnp.asarray(basis[step])))
        scale = np.linalg.norm(vector)
        diagonal.append(basis[step] @ vector)
        vector = _orthogonal(vector, basis[: step + 1])
        norm = remainder = np.linalg.norm(vector)
        if norm <= 10 * np.finfo(vector.dtype).eps * scale:
            remainder = 0.0  # an invariant subspace: the Ritz values are eigenvalues
            if rng is None or step + 1 == num_steps:
                break
            drawn = rng.standard_normal(vector.size).astype(vector.dtype)
            vector = _orthogonal(drawn, basis[: step + 1])
            norm = np.linalg.norm(vector)
        off.append(remainder)
    count = len(diagonal)
    diagonals = np.array(diagonal), np.array(off[: count - 1])
    return Tridiagonal(basis[:count].T, *diagonals, float(remainder))


def _orthogonal(vector: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The part of ``vector`` outside the rows of ``basis``."""
    for _ in range(2):  # twice is enough
        vector = vector - (basis @ vector) @ basis
    return vector


class _Ritz(NamedTuple):
    """All Ritz values, ascending, their residuals, and their vectors in the ``basis``."""

    values: np.ndarray
    residuals: np.ndarray
    coefficients: np.ndarray
    basis: np.ndarray

    def pairs(self, order: np.ndarray) -> Eigenpairs:
        """The pairs of the Ritz values at the positions in ``order``."""
        vectors = self.basis @ self.coefficients[:, order].astype(self.basis.dtype)
        return Eigenpairs(self.values[order], vectors, self.residuals[order])


def _ritz(key: Key, operator: SymmetricOperator, num_steps: int) -> _Ritz:
    start = jax.random.normal(key, (operator.size,), operator.dtype)
    decomposition = lanczos(operator, start, num_steps, restarts=jax.random.fold_in(key, 1))
    values, vectors = np.linalg.eigh(decomposition.dense.astype(np.float64))
    residuals = decomposition.remainder * np.abs(vectors[-1])
    return _Ritz(values, residuals, vectors, decomposition.basis)


def extreme_eigenpairs(
    key: Key,
    operator: SymmetricOperator,
    *,
    top: int = 1,
    bottom: int = 1,
    num_steps: int | None = None,
) -> Extremes:
    """The ``top`` largest and ``bottom`` smallest eigenpairs, from one Lanczos run.

    Args:
        key: Draws the start vector.
        operator: The matrix.
        top: How many of the largest.
        bottom: How many of the smallest.
        num_steps: Products, and vectors of ``size`` that are held; default ``4 k + 20`` for
            ``k = top + bottom``.

    Raises:
        ValueError: unless ``top, bottom >= 0`` and ``1 <= top + bottom <= size``.

    >>> from ntk_prune.linalg import from_matrix
    >>> ends = extreme_eigenpairs(jax.random.key(0), from_matrix(np.diag([-2.0, 1.0, 5.0])))
    >>> ends.top.values.round(4).tolist(), ends.bottom.values.round(4).tolist()
    ([5.0], [-2.0])
    """
    wanted = top + bottom
    if min(top, bottom) < 0 or not 1 <= wanted <= operator.size:
        raise ValueError(f"top + bottom must lie in 1..{operator.size}, got {top} + {bottom}")
    ritz = _ritz(key, operator, num_steps or 4 * wanted + 20)
    positions = np.arange(ritz.values.size)
    return Extremes(ritz.pairs(positions[::-1][:top]), ritz.pairs(positions[:bottom]))


def top_eigenvalues(
    key: Key, operator: SymmetricOperator, k: int, *, num_steps: int | None = None
) -> Eigenvalues:
    """The ``k`` largest eigenvalues by Lanczos, with residuals.

    Args:
        key: Draws the start vector.
        operator: The matrix.
        k: How many.
        num_steps: Products; default ``4 k + 20``.

    Raises:
        ValueError: for ``k`` outside ``1..size``.
    """
    if not 1 <= k <= operator.size:
        raise ValueError(f"k must lie in 1..{operator.size}, got {k}")
    ritz = _ritz(key, operator, num_steps or 4 * k + 20)
    return Eigenvalues(ritz.values[::-1][:k], ritz.residuals[::-1][:k])


def condition_number(key: Key, operator: SymmetricOperator, *, num_steps: int) -> Condition:
    """The condition number of a positive matrix from the two extreme Ritz values; a lower bound
    until both are ``converged``.

    Raises:
        FloatingPointError: when the smallest Ritz value is not resolved from zero.
    """
    ritz = _ritz(key, operator, num_steps)
    smallest, largest = float(ritz.values[0]), float(ritz.values[-1])
    if smallest <= operator.size * jnp.finfo(operator.dtype).eps * largest:
        raise FloatingPointError(
            f"the smallest Ritz value {smallest:.3g} is zero to working precision against "
            f"{largest:.3g}: singular matrix (of a kernel: duplicated inputs?), or use float64"
        )
    residuals = (float(ritz.residuals[-1]), float(ritz.residuals[0]))
    return Condition(largest / smallest, largest, smallest, residuals)
