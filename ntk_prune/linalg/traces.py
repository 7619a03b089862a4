"""Traces, Frobenius norms and diagonals by random signs, with standard errors."""

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.linalg.estimates import (
    Estimate,
    VectorEstimate,
    array_mean,
    check_probes,
    sample_mean,
)
from ntk_prune.linalg.operators import SymmetricOperator, random_signs
from ntk_prune.types import Key


def trace(
    key: Key, operator: SymmetricOperator, num_probes: int, *, method: str = "hutchinson"
) -> Estimate:
    """The trace by random signs.

    ``"hutchinson"``: the mean of ``v^T A v`` over ``num_probes`` products. ``"hutch++"``: a third
    of the products finds a subspace ``Q``, a third its exact trace, and the rest estimates the
    remainder, so the error falls like 1/products for positive semi-definite ``A`` (Meyer et al.,
    arXiv 2010.09649). Its ``sem`` and ``n`` are those of the remainder.

    Raises:
        ValueError: for too few probes (2, or 6 for hutch++) or an unknown method.

    >>> from ntk_prune.linalg import from_matrix
    >>> trace(jax.random.key(0), from_matrix(np.diag([1.0, 3.0])), 2)   # exact for a diagonal one
    Estimate(value=4.0, sem=0.0, n=2)
    """
    if method == "hutchinson":
        check_probes(num_probes)
        probes = (random_signs(k, operator) for k in jax.random.split(key, num_probes))
        return sample_mean([float(v @ operator.matvec(v)) for v in probes])
    if method == "hutch++":
        check_probes(num_probes, 6)
        return _hutch_plus_plus(key, operator, num_probes // 3)
    raise ValueError(f"method must be hutchinson or hutch++, got {method!r}")


def _hutch_plus_plus(key: Key, operator: SymmetricOperator, third: int) -> Estimate:
    sketch_key, probe_key = jax.random.split(key)
    sketch_keys = jax.random.split(sketch_key, min(third, operator.size))
    sketch = [operator.matvec(random_signs(k, operator)) for k in sketch_keys]
    q = jnp.linalg.qr(jnp.stack(sketch, axis=1))[0]
    exact = sum(float(v @ operator.matvec(v)) for v in q.T)
    samples = []
    for k in jax.random.split(probe_key, third):
        v = random_signs(k, operator)
        v = v - q @ (q.T @ v)
        samples.append(float(v @ operator.matvec(v)))
    rest = sample_mean(samples)
    return rest._replace(value=exact + rest.value)


def frobenius_norm(
    key: Key, operator: SymmetricOperator, num_probes: int, *, method: str = "hutchinson"
) -> Estimate:
    """``|A|_F`` as the root of the trace of ``A^2``; the error by the delta method.

    ``"hutchinson"`` takes ``num_probes`` products (``|A v|^2``), ``"hutch++"`` twice as many.
    """
    if method == "hutchinson":
        check_probes(num_probes)
        probes = (random_signs(k, operator) for k in jax.random.split(key, num_probes))
        square = sample_mean([float(jnp.sum(jnp.square(operator.matvec(v)))) for v in probes])
    else:
        twice = lambda v: operator.matvec(operator.matvec(v))  # noqa: E731
        squared = SymmetricOperator(twice, operator.size, operator.dtype)
        square = trace(key, squared, num_probes, method=method)
    norm = float(np.sqrt(max(square.value, 0.0)))
    return Estimate(norm, square.sem / (2 * norm) if norm else 0.0, square.n)


def diagonal(key: Key, operator: SymmetricOperator, num_probes: int) -> VectorEstimate:
    """The diagonal ``[size]`` as the mean of ``v * (A v)`` over random signs, one product each.

    The variance of entry ``j`` of one probe is ``sum_(k != j) A_jk^2`` (Bekas, Kokiopoulou and
    Saad, 2007): the diagonal of a diagonal matrix is exact.

    Raises:
        ValueError: for fewer than 2 probes.
    """
    check_probes(num_probes)
    probes = (random_signs(k, operator) for k in jax.random.split(key, num_probes))
    return array_mean(v * operator.matvec(v) for v in probes)
