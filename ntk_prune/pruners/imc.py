r"""IMC: pruning by an inertial manifold (Zhang et al., NeurIPS 2021). A reconstruction.

Of the method only the outline is available: ten steps of SGD from ``W0`` give an approximate
minimum ``W*``; a gap in the spectrum of its Hessian splits weight space into slow and fast
directions; weights of one part are kept. The same authors describe and implement a criterion of
this kind later (arXiv 2204.11536, 2310.15080): there the spectrum gives the rate alone and the
magnitude ``|W*|`` ranks the weights (``coordinates="magnitude"``). ``docs/imc.md`` says what is
known, what is theory and what is reconstructed.

With ``h`` the diagonal of the Hessian, ``U`` its top eigenvectors ``[d, k]``, ``l_j = |row j of
U|^2`` the leverages, and everything in the kept weights at ``W*``,

    diagonal: h      leverage: l      rrqr: l, k coordinates of strong rank-revealing QR first

ranks the weights by their part in the fast directions. ``reading="fast"`` keeps the largest, as the
group's text has it, ``"slow"`` the smallest, those of an inertial manifold of gradient flow.

Differs:
- the density is prescribed, not derived: ``ntk_prune.inertial`` computes what a gap would admit;
- for ``k`` directions the slow leverages are ``1 - l``, so both readings need the fast ones alone.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntk_prune import masks
from ntk_prune.inertial.leverage import leverage, strong_rrqr
from ntk_prune.inertial.point import approximate_minimum, check_finite
from ntk_prune.inertial.spectrum import gauss_newton_eigenpairs
from ntk_prune.landscape.hessian import MaskedLoss
from ntk_prune.linalg import diagonal, extreme_eigenpairs
from ntk_prune.pruners.common import (
    Scope,
    check_at_least,
    check_choice,
    check_positive,
    criterion,
    make_pruner,
)
from ntk_prune.types import Key, Pruner

Reading = Literal["fast", "slow"]
Ranking = Literal["leverage", "rrqr", "diagonal", "magnitude"]
Curvature = Literal["gauss_newton", "hessian", "ntk"]

_EIGENVECTORS = ("curvature", "directions")
_UNUSED: dict[Ranking, tuple[str, ...]] = {
    "leverage": ("num_probes",),
    "rrqr": ("num_probes",),
    "diagonal": _EIGENVECTORS,
    "magnitude": ("reading", "num_probes", *_EIGENVECTORS),
}
"""Options that change nothing beside each ranking."""

# Lanczos starts here whatever the key: converged vectors do not depend on it.
START = 0


@criterion
def imc(
    reading: Reading = "fast",
    coordinates: Ranking = "leverage",
    curvature: Curvature = "gauss_newton",
    directions: int = 10,
    num_probes: int = 50,
    steps: int = 10,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    scope: Scope = "global",
) -> Pruner:
    """The part of each weight in the fast, or slow, eigenspace of the Hessian after a few steps.

    Args:
        reading: Keep weights of the fast directions, or of the slow ones.
        coordinates: Rank by leverage; rrqr, leverage after a well-conditioned set; diagonal of the
            Hessian; or magnitude, which takes nothing from the spectrum.
        curvature: Whose eigenvectors: gauss_newton or hessian by Lanczos; ntk, those of
            Gauss-Newton exactly, from the kernel of all examples.
        directions: k, fast directions; outliers number about the classes.
        num_probes: Random signs for the diagonal.
        steps: Of SGD to the approximate minimum, cycling through the batches.
        learning_rate: Of these steps.
        momentum: Of these steps.
    """
    check_choice(get_args(Reading), reading=reading)
    check_choice(get_args(Ranking), coordinates=coordinates)
    check_choice(get_args(Curvature), curvature=curvature)
    check_at_least(1, directions=directions)
    check_at_least(2, num_probes=num_probes)
    check_at_least(0, steps=steps, momentum=momentum)
    check_positive(learning_rate=learning_rate)
    optimizer = optax.sgd(learning_rate, momentum or None)

    def score(key, model, params, state, mask, batches):
        point = approximate_minimum(model, params, state, mask, batches, optimizer, steps)
        if coordinates == "magnitude":
            return masks.only_prunable(jax.tree.map(jnp.abs, point.params))
        loss = MaskedLoss(model, *point, mask, batches, batch_norm="running")
        if coordinates == "diagonal":
            check_finite(loss, loss.hessian())
            part = diagonal(key, loss.hessian(), num_probes).value
        else:
            part = _leverage(loss, curvature, directions, first=coordinates == "rrqr")
        vector = jnp.asarray(part if reading == "fast" else -part, loss.coordinates.dtype)
        return masks.only_prunable(loss.coordinates.tree(vector))

    return make_pruner(score, scope=scope, unused=_UNUSED[coordinates])


def _leverage(loss: MaskedLoss, curvature: Curvature, k: int, *, first: bool) -> np.ndarray:
    """Leverages ``[size]`` of the top ``k`` directions, 1 added (``first``) at rank-revealing
    coordinates; leverages are at most 1."""
    vectors = _top_vectors(loss, curvature, min(k, loss.size))
    part = leverage(vectors)
    if first:
        part[strong_rrqr(vectors.T)] += 1
    return part


def _top_vectors(loss: MaskedLoss, curvature: Curvature, k: int) -> np.ndarray:
    operator = loss.hessian() if curvature == "hessian" else loss.gauss_newton()
    check_finite(loss, operator)
    if curvature == "ntk":
        return gauss_newton_eigenpairs(loss, k).vectors
    key: Key = jax.random.key(START)
    return extreme_eigenpairs(key, operator, top=k, bottom=0).top.vectors
