"""Eigenvalues, traces, norms and densities of a kernel, matrix-free or dense.

Matrix-free functions take a symmetric positive ``matvec`` over flat vectors of length ``size``,
such as ``operators.ntk_operator(...).matvec``. What is estimated by random probes comes with its
standard error and the number of probes. Dense diagnostics are in ``diagnostics``.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.types import Array, Key

MatVec = Callable[[Array], Array]


class Estimate(NamedTuple):
    """A stochastic estimate: ``value`` +- ``sem`` (one standard error) from ``n`` samples."""

    value: float
    sem: float
    n: int


class Eigenvalues(NamedTuple):
    """Ritz values, largest first, and for each the norm ``|K y - value y|`` of its residual.

    An eigenvalue lies within ``residual`` of each value.
    """

    values: np.ndarray
    residuals: np.ndarray


class Tridiagonal(NamedTuple):
    """``K Q = Q T + remainder e_m^T``: basis ``Q [size, m]``, ``T`` by diagonals, remainder."""

    basis: np.ndarray
    diagonal: np.ndarray
    off_diagonal: np.ndarray
    remainder: float

    @property
    def dense(self) -> np.ndarray:
        """``T [m, m]``."""
        off = self.off_diagonal
        return np.diag(self.diagonal) + np.diag(off, 1) + np.diag(off, -1)


class Density(NamedTuple):
    """The spectral density on a grid: ``value +- sem`` pointwise, from ``n`` probes; integral 1."""

    grid: np.ndarray
    value: np.ndarray
    sem: np.ndarray
    n: int


class Condition(NamedTuple):
    """``largest / smallest`` Ritz value, and the residuals of both."""

    value: float
    largest: float
    smallest: float
    residuals: tuple[float, float]


def lanczos(
    matvec: MatVec, start: Array, num_steps: int, *, on_device: bool | None = None
) -> Tridiagonal:
    """Lanczos with full reorthogonalisation from ``start [size]``; stops early when exhausted.

    Args:
        matvec: The product with the symmetric matrix.
        start: First basis vector, not normalised.
        num_steps: Products, at most ``size``.
        on_device: One compiled loop (matfree) instead of one dispatch a product. The default is
            the compiled loop on an accelerator; XLA's CPU convolutions are slow inside loops.
    """
    num_steps = min(num_steps, start.size)
    if on_device is None:
        on_device = jax.default_backend() != "cpu"
    return (_lanczos_matfree if on_device else _lanczos_host)(matvec, start, num_steps)


def _lanczos_matfree(matvec: MatVec, start: Array, num_steps: int) -> Tridiagonal:
    from matfree import decomp

    algorithm = decomp.tridiag_sym(num_steps, materialize=False, reortho="full", custom_vjp=False)
    basis, (diagonal, off), remainder, _ = jax.jit(lambda v: algorithm(matvec, v))(start)
    return Tridiagonal(
        np.asarray(basis).T,
        np.asarray(diagonal),
        np.asarray(off),
        float(jnp.linalg.norm(remainder)),
    )


def _lanczos_host(matvec: MatVec, start: Array, num_steps: int) -> Tridiagonal:
    vector = np.asarray(start)
    basis = np.zeros((num_steps, vector.size), vector.dtype)
    diagonal, off = [], []
    norm = np.linalg.norm(vector)
    for step in range(num_steps):
        basis[step] = vector / norm
        vector = np.asarray(matvec(jnp.asarray(basis[step])))
        scale = np.linalg.norm(vector)
        diagonal.append(basis[step] @ vector)
        for _ in range(2):  # twice is enough
            vector = vector - (basis[: step + 1] @ vector) @ basis[: step + 1]
        norm = np.linalg.norm(vector)
        if norm <= 10 * np.finfo(vector.dtype).eps * scale:
            norm = 0.0  # an invariant subspace: the Ritz values are eigenvalues
            break
        off.append(norm)
    count = len(diagonal)
    return Tridiagonal(basis[:count].T, np.array(diagonal), np.array(off[: count - 1]), float(norm))


def _ritz(matvec: MatVec, size: int, key: Key, num_steps: int) -> Eigenvalues:
    decomposition = lanczos(matvec, jax.random.normal(key, (size,)), num_steps)
    values, vectors = np.linalg.eigh(decomposition.dense.astype(np.float64))
    residuals = decomposition.remainder * np.abs(vectors[-1])
    return Eigenvalues(values[::-1], residuals[::-1])


def top_eigenvalues(
    matvec: MatVec, size: int, k: int, key: Key, *, num_steps: int | None = None
) -> Eigenvalues:
    """The ``k`` largest eigenvalues by Lanczos, with residuals.

    Args:
        matvec: ``u [size] -> K u``.
        size: Rows of ``K``.
        k: How many.
        key: Draws the start vector.
        num_steps: Products; default ``4 k + 20``.

    Raises:
        ValueError: for ``k`` outside ``1..size``.
    """
    if not 1 <= k <= size:
        raise ValueError(f"k must lie in 1..{size}, got {k}")
    found = _ritz(matvec, size, key, num_steps or 4 * k + 20)
    return Eigenvalues(found.values[:k], found.residuals[:k])


def condition_number(matvec: MatVec, size: int, key: Key, *, num_steps: int) -> Condition:
    """The condition number from the two extreme Ritz values; a lower bound until both converge.

    Raises:
        FloatingPointError: when the smallest Ritz value is not resolved from zero.
    """
    found = _ritz(matvec, size, key, num_steps)
    largest, smallest = float(found.values[0]), float(found.values[-1])
    residuals = (float(found.residuals[0]), float(found.residuals[-1]))
    if smallest <= size * jnp.finfo(jnp.zeros(()).dtype).eps * largest:
        raise FloatingPointError(
            f"the smallest Ritz value {smallest:.3g} is zero to working precision against "
            f"{largest:.3g}: singular kernel (duplicated inputs?), or use float64"
        )
    return Condition(largest / smallest, largest, smallest, residuals)


def _signs(key: Key, size: int) -> Array:
    return jax.random.rademacher(key, (size,), jnp.zeros(()).dtype)


def _summary(samples: list[float]) -> Estimate:
    n = len(samples)
    return Estimate(float(np.mean(samples)), float(np.std(samples, ddof=1) / np.sqrt(n)), n)


def _check_probes(num_probes: int, least: int) -> None:
    if num_probes < least:
        raise ValueError(f"a standard error needs at least {least} probes, got {num_probes}")


def trace(
    matvec: MatVec, size: int, key: Key, num_probes: int, *, method: str = "hutchinson"
) -> Estimate:
    """The trace by random signs.

    ``"hutchinson"``: the mean of ``v^T K v`` over ``num_probes`` products. ``"hutch++"``: a third
    of the products finds a subspace ``Q``, a third its exact trace, and the rest estimates the
    remainder, so the error falls like 1/products (Meyer et al., arXiv 2010.09649). Its ``sem`` and
    ``n`` are those of the remainder.

    Raises:
        ValueError: for too few probes (2, or 6 for hutch++) or an unknown method.
    """
    if method == "hutchinson":
        _check_probes(num_probes, 2)
        probes = (_signs(k, size) for k in jax.random.split(key, num_probes))
        return _summary([float(v @ matvec(v)) for v in probes])
    if method == "hutch++":
        _check_probes(num_probes, 6)
        return _hutch_plus_plus(matvec, size, key, num_probes // 3)
    raise ValueError(f"method must be hutchinson or hutch++, got {method!r}")


def _hutch_plus_plus(matvec: MatVec, size: int, key: Key, third: int) -> Estimate:
    sketch_key, probe_key = jax.random.split(key)
    sketch = [matvec(_signs(k, size)) for k in jax.random.split(sketch_key, min(third, size))]
    q = jnp.linalg.qr(jnp.stack(sketch, axis=1))[0]
    exact = sum(float(v @ matvec(v)) for v in q.T)
    samples = []
    for k in jax.random.split(probe_key, third):
        v = _signs(k, size)
        v = v - q @ (q.T @ v)
        samples.append(float(v @ matvec(v)))
    rest = _summary(samples)
    return rest._replace(value=exact + rest.value)


def frobenius_norm(
    matvec: MatVec, size: int, key: Key, num_probes: int, *, method: str = "hutchinson"
) -> Estimate:
    """``|K|_F`` as the root of the trace of ``K^2``; the error by the delta method.

    ``"hutchinson"`` takes ``num_probes`` products (``|K v|^2``), ``"hutch++"`` twice as many.
    """
    if method == "hutchinson":
        _check_probes(num_probes, 2)
        probes = (_signs(k, size) for k in jax.random.split(key, num_probes))
        square = _summary([float(jnp.sum(jnp.square(matvec(v)))) for v in probes])
    else:
        square = trace(lambda v: matvec(matvec(v)), size, key, num_probes, method=method)
    norm = float(np.sqrt(max(square.value, 0.0)))
    return Estimate(norm, square.sem / (2 * norm) if norm else 0.0, square.n)


def spectral_density(
    matvec: MatVec,
    size: int,
    key: Key,
    *,
    num_probes: int = 8,
    num_steps: int = 40,
    grid: np.ndarray | None = None,
    width: float | None = None,
) -> Density:
    """The density of eigenvalues by stochastic Lanczos quadrature (arXiv 1802.03451).

    Each probe gives ``sum_i w_i N(grid; ritz_i, width)`` with ``w_i`` the squared first components
    of the eigenvectors of its tridiagonal matrix.

    Args:
        matvec: ``u [size] -> K u``.
        size: Rows of ``K``.
        key: Draws the probes.
        num_probes: Random starts, at least 2.
        num_steps: Lanczos steps each.
        grid: Where to evaluate; default 400 points around the Ritz values.
        width: Standard deviation of the Gaussians; default 1% of the range.
    """
    _check_probes(num_probes, 2)
    nodes = []
    for k in jax.random.split(key, num_probes):
        decomposition = lanczos(matvec, _signs(k, size), num_steps)
        values, vectors = np.linalg.eigh(decomposition.dense.astype(np.float64))
        nodes.append((values, vectors[0] ** 2))
    low = min(values[0] for values, _ in nodes)
    high = max(values[-1] for values, _ in nodes)
    width = width or 0.01 * max(high - low, np.finfo(float).tiny)
    usual = np.linspace(low - 4 * width, high + 4 * width, 400)
    points = usual if grid is None else np.asarray(grid)
    curves = np.stack([_smooth(points, values, weights, width) for values, weights in nodes])
    sem = curves.std(0, ddof=1) / np.sqrt(num_probes)
    return Density(points, curves.mean(0), sem, num_probes)


def _smooth(grid: np.ndarray, values: np.ndarray, weights: np.ndarray, width: float) -> np.ndarray:
    """A sum of weighted Gaussians on the grid."""
    z = (grid[:, None] - values[None, :]) / width
    return np.exp(-0.5 * z**2) @ weights / (width * np.sqrt(2 * np.pi))
