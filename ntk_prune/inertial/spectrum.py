r"""The spectrum at ``W*`` as the protocol reports it: counts, the plateau's rate, Gauss-Newton.

``G = J^T H_out J / N`` is positive semi-definite with rank at most ``N C``, and its eigenvalues are
those of ``H_out^(1/2) J J^T H_out^(1/2) / N``: of the empirical NTK ``J J^T`` between the square
roots of the loss's Hessians in the logits. With ``u_i`` its eigenvectors,
``q_i = J^T H_out^(1/2) u_i / sqrt(N kappa_i)`` are those of ``G``, exact fast directions; the
kernel of ``G`` is the slow space.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.coordinates import chosen
from ntk_prune.inertial.plateau import Tail, plateau, published_tail
from ntk_prune.landscape.hessian import MaskedLoss
from ntk_prune.linalg import (
    Eigenpairs,
    Eigenvalues,
    Estimate,
    Quadrature,
    SymmetricOperator,
    extreme_eigenpairs,
    quadrature,
)
from ntk_prune.linalg.estimates import sample_mean
from ntk_prune.losses import labelled
from ntk_prune.ntk.diagnostics import as_matrix
from ntk_prune.ntk.empirical import empirical_ntk
from ntk_prune.ntk.operators import ntk_operator
from ntk_prune.types import Array, Key, Params


def quadratures(
    key: Key, operator: SymmetricOperator, num_probes: int, num_steps: int
) -> list[Quadrature]:
    """Stochastic Lanczos quadrature of independent probes."""
    return [quadrature(k, operator, num_steps) for k in jax.random.split(key, num_probes)]


def share_below(probes: list[Quadrature], threshold: float) -> Estimate:
    """The share of eigenvalues below ``threshold``: with ``-tolerance``, of the negative ones.

    >>> share_below([Quadrature(np.array([-1.0, 1.0]), np.array([0.3, 0.7]))] * 2, -1e-3)
    Estimate(value=0.3, sem=0.0, n=2)
    """
    return sample_mean([float(p.weights[p.nodes < threshold].sum()) for p in probes])


def plateau_rate(
    probes: list[Quadrature],
    tail: Callable[[Array, Array], Tail] = published_tail,
    **rule: float,
) -> Estimate:
    """The share above the plateau of each probe: mean and standard error.

    FedDUAP prunes that share, FedPepTAO keeps it. Published with 1 probe of 50 steps.

    Args:
        probes: From ``quadratures``.
        tail: ``published_tail`` or ``exact_tail``.
        rule: Options of ``plateau``.
    """
    return sample_mean([plateau(tail(*probe), **rule).share for probe in probes])


def gauss_newton_eigenpairs(loss: MaskedLoss, k: int, w: Array | None = None) -> Eigenpairs:
    """The ``k`` largest eigenpairs of the Gauss-Newton matrix, exact, from the empirical NTK.

    At most the rank of ``G``. The kernel is ``[N C, N C]``; for more examples than that allows use
    ``linalg.extreme_eigenpairs`` of ``loss.gauss_newton()``.

    Args:
        loss: With ``batch_norm="running"``, logits ``[B, C]``, and ``wrt`` "all" or "prunable".
        k: How many.
        w: The point; None for ``w0``.

    Raises:
        ValueError: for a loss under batch statistics, ``k < 1``, or logits of another shape.
        MemoryError: when the kernel cannot fit.
    """
    _check_kernel(loss, k)
    params = loss.params_at(w)
    x = jnp.concatenate([jnp.asarray(batch) for batch in loss.batches.x])
    network = {"state": loss.state, "mask": loss.mask, "wrt": loss.wrt}
    roots = _loss_roots(loss, params)
    n, c, _ = roots.shape
    kernel = as_matrix(empirical_ntk(loss.model, params, x, **network)).reshape(n, c, n, c)
    weighted = np.einsum("iac,icjd,jdb->iajb", roots, kernel, roots) / loss.num_labelled
    values, vectors = np.linalg.eigh(weighted.reshape(n * c, n * c))
    rank = int((values > n * c * np.finfo(x.dtype).eps * values[-1]).sum())
    top = slice(None, -min(k, rank) - 1, -1)
    values, vectors = values[top], vectors[:, top].reshape(n, c, -1)
    outputs = np.einsum("iab,ibk->kia", roots, vectors).reshape(-1, n * c)
    operator = ntk_operator(loss.model, params, x, **network, chunk=len(loss.batches.x[0]))
    kept = _kept_of_chosen(loss)
    rows = [np.asarray(operator.vjp(jnp.asarray(u, x.dtype)))[kept] for u in outputs]
    q = np.stack(rows, axis=1) / np.sqrt(loss.num_labelled * values)
    return Eigenpairs(values, q, _residuals(loss.gauss_newton(w), values, q))


def _check_kernel(loss: MaskedLoss, k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if loss.batch_norm != "running":
        raise ValueError("the kernel under batch statistics is not defined: batch_norm='running'")
    if np.asarray(loss.batches.y).ndim != 2:
        raise ValueError("Gauss-Newton from the kernel takes one label an example: logits [B, C]")


def _loss_roots(loss: MaskedLoss, params: Params) -> np.ndarray:
    """``H_out^(1/2) [N, C, C]`` of every example; zero where it has no label."""
    batches = zip(loss.batches.x, loss.batches.y, strict=True)
    hessians = [_loss_hessians(loss.model, loss.loss, params, loss.state, x, y) for x, y in batches]
    values, vectors = np.linalg.eigh(np.concatenate(hessians).astype(np.float64))
    roots = np.sqrt(np.maximum(values, 0))
    return np.einsum("iab,ib,icb->iac", vectors, roots, vectors)


@functools.partial(jax.jit, static_argnames=("model", "loss"))
def _loss_hessians(model, loss, params, state, x, y):
    logits = model.apply(params, state, x, train=False)[0]
    valid = labelled(y, logits.shape[-1])
    return jax.vmap(jax.hessian(loss))(logits, y) * valid[:, None, None]


def _kept_of_chosen(loss: MaskedLoss) -> np.ndarray:
    """Positions of the kept coordinates within the leaves that ``wrt`` chooses."""
    flags = chosen(loss.params, loss.wrt)
    leaves = zip(jax.tree.leaves(loss.mask), flags, strict=True)
    return np.flatnonzero(np.concatenate([np.ravel(m) for m, flag in leaves if flag]))


def _residuals(operator: SymmetricOperator, values: Array, vectors: np.ndarray) -> np.ndarray:
    """``|A q - kappa q|`` of every pair."""
    products = [np.asarray(operator.matvec(jnp.asarray(q, operator.dtype))) for q in vectors.T]
    return np.linalg.norm(np.stack(products, axis=1) - vectors * values, axis=0)


def gauss_newton_distance(key: Key, loss: MaskedLoss, *, num_steps: int = 30) -> Eigenvalues:
    """Both ends of ``H - G``, the one of larger modulus first: its modulus is ``|H - G|``."""
    difference = loss.hessian() - loss.gauss_newton()
    ends = extreme_eigenpairs(key, difference, top=1, bottom=1, num_steps=num_steps)
    values = np.concatenate([pairs.values for pairs in ends])
    residuals = np.concatenate([pairs.residuals for pairs in ends])
    order = np.argsort(-np.abs(values))
    return Eigenvalues(values[order], residuals[order])
