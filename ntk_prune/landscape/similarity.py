"""How alike the outputs of two networks are on one set of inputs: CKA, agreement, divergence.

All take arrays and compute in float64 on the host. Outputs are ``logits [N, C]``; the three-regime
model (Zhou et al., arXiv 2305.18383) takes the CKA of their softmax.
"""

import functools
from collections.abc import Iterable

import jax
import numpy as np
from scipy import special

from ntk_prune.landscape.connectivity import Network, Prepare, unprepared
from ntk_prune.types import Array, Model


def outputs(
    model: Model, network: Network, batches: Iterable[Array], prepare: Prepare = unprepared
) -> np.ndarray:
    """Logits ``[N, C]`` of ``batches`` of ``x [B, ...]`` under the running statistics.

    Raises ValueError when there are no batches.
    """
    parts = [np.asarray(_outputs(model, prepare, *network, x)) for x in batches]
    if not parts:
        raise ValueError("no examples to take the outputs of a network of")
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _outputs(model, prepare, params, state, x):
    return model.apply(params, state, prepare(x), train=False)[0]


def softmax(logits: Array) -> np.ndarray:
    """``exp(logits) / sum(exp(logits))`` over the last axis, in the type of ``logits``."""
    return special.softmax(np.asarray(logits), axis=-1)


def linear_cka(x: Array, y: Array, *, unbiased: bool = False) -> float:
    """Linear centred kernel alignment of features ``x [N, P]`` and ``y [N, Q]``.

    ``HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y))`` (Kornblith et al., arXiv 1905.00414), without a
    matrix ``[N, N]``. It does not change when features are rotated, mirrored, permuted, shifted or
    scaled all by one factor.

    With the biased HSIC it is ``|xc' yc|^2 / (|xc' xc| |yc' yc|)``, between 0 and 1 and larger on
    fewer examples. With the unbiased one (Song et al., JMLR 2012, HSIC_1) it is near 0 for
    independent features on few examples too, and may be negative.

    Features that do not vary over the examples, to the rounding of their type, are like nothing:
    0.0, also with each other. Collapsed networks have such outputs.

    Raises ValueError for features of different numbers of examples, and of fewer than 2 examples
    (4 for the unbiased one).

    >>> x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [5.0, 1.0]])
    >>> round(linear_cka(x, 3 * x[:, ::-1] + 1), 12)
    1.0
    """
    _check_features(x, y, 4 if unbiased else 2)
    if _is_constant(x) or _is_constant(y):
        return 0.0
    xc, yc = _centred(x), _centred(y)
    hsic = _unbiased_hsic if unbiased else _biased_hsic
    return float(hsic(xc, yc) / np.sqrt(hsic(xc, xc) * hsic(yc, yc)))


def _check_features(x: Array, y: Array, fewest: int) -> None:
    if np.ndim(x) != 2 or np.ndim(y) != 2 or len(x) != len(y):
        raise ValueError(
            f"CKA compares features [N, P] and [N, Q], got {np.shape(x)} and {np.shape(y)}"
        )
    if len(x) < fewest:
        raise ValueError(f"CKA takes at least {fewest} examples here, got {len(x)}")


def _centred(x: Array) -> np.ndarray:
    values = np.asarray(x, np.float64)
    return values - values.mean(0)


def _is_constant(x: Array) -> bool:
    """Whether the rows of ``x`` are one row, to the rounding of its type."""
    dtype = np.asarray(x).dtype
    eps = np.finfo(dtype if np.issubdtype(dtype, np.floating) else np.float64).eps
    return bool(np.abs(_centred(x)).max() <= 8 * eps * np.abs(np.asarray(x, np.float64)).max())


def _biased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """``tr(K L)`` of centred features, up to a factor of N."""
    return float(np.square(x.T @ y).sum())


def _unbiased_hsic(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC_1 of centred features, up to a factor of N.

    ``tr(K L) + 1'K1 1'L1 / ((N-1)(N-2)) - 2 1'KL1 / (N-2)`` for the Gram matrices without their
    diagonals ``k`` and ``l``. The features add up to 0, so ``K 1 = -k``.
    """
    n = len(x)
    k, l = np.square(x).sum(1), np.square(y).sum(1)
    trace = _biased_hsic(x, y) - k @ l
    return float(trace + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k @ l) / (n - 2))


def agreement(a: Array, b: Array) -> float:
    """The share of examples to which ``logits [N, C]`` of two networks give the same class.

    >>> agreement(np.array([[0, 1], [1, 0]]), np.array([[0, 2], [0, 1]]))
    0.5
    """
    _check_alike(a, b)
    return float(np.mean(np.argmax(a, -1) == np.argmax(b, -1)))


def jensen_shannon(a: Array, b: Array) -> float:
    """The divergence ``(KL(p | m) + KL(q | m)) / 2`` in nats, its mean over the examples.

    ``p`` and ``q`` are the softmax of ``logits [N, C]`` and ``m`` their mean, not below 1e-7 as in
    the code of the three-regime model. Between 0 and log 2.

    >>> round(jensen_shannon(np.array([[50.0, 0.0]]), np.array([[0.0, 50.0]])), 6)  # log 2
    0.693147
    """
    _check_alike(a, b)
    p, q = (special.softmax(np.asarray(logits, np.float64), axis=-1) for logits in (a, b))
    log_m = np.log(np.clip((p + q) / 2, 1e-7, 1))
    divergences = [(special.xlogy(r, r) - r * log_m).sum(-1) for r in (p, q)]
    return float(np.mean(divergences))


def cosine(a: Array, b: Array) -> float:
    """``<a, b> / (|a| |b|)`` of two arrays as vectors; 0.0 where one of them is 0.

    The published code takes the mean of this over batches of logits.

    >>> round(cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])), 6)
    0.707107
    """
    _check_alike(a, b)
    u, v = (np.asarray(values, np.float64).ravel() for values in (a, b))
    norms = np.linalg.norm(u) * np.linalg.norm(v)
    return float(u @ v / norms) if norms else 0.0


def _check_alike(a: Array, b: Array) -> None:
    if np.shape(a) != np.shape(b) or not np.size(a):
        raise ValueError(
            f"outputs on the same examples are compared, got {np.shape(a)} and {np.shape(b)}"
        )
