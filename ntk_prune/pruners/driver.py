"""The pruning loop: score, keep the top, repeat. The only loop over rounds in the package."""

import time
import warnings
from typing import NamedTuple

import jax
import numpy as np

from ntk_prune import masks
from ntk_prune.progress import Progress
from ntk_prune.pruners import paths
from ntk_prune.types import Batch, Key, Mask, Model, Params, Pruner, Scores, State

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Round(NamedTuple):
    """One round: its 1-based number, the density and number of weights kept after it, quantiles
    (``QUANTILES``) of the scores of the weights that entered it, and its wall-clock seconds."""

    round: int
    density: float
    kept: int
    quantiles: tuple[float, ...]
    seconds: float


class PruneInfo(NamedTuple):
    """The rounds, ``{layer: (kept, total)}``, and the names of layers left without weights; layers
    that the pruner excludes are in none of them."""

    rounds: tuple[Round, ...]
    layer_counts: dict[str, tuple[int, int]]
    collapsed: tuple[str, ...]


def prune(
    key: Key,
    pruner: Pruner,
    model: Model,
    params: Params,
    state: State,
    mask: Mask,
    batches: Batch,
    density: float,
) -> tuple[Mask, PruneInfo]:
    """Prune ``mask`` to exactly ``round(density * n)`` weights in ``pruner.num_rounds`` rounds.

    A scope that rounds layer by layer keeps as many as its rule says; ``n`` counts the weights that
    the pruner does not exclude.

    Round ``t`` scores the network under the current mask with the key ``fold_in(key, t)`` and
    keeps the best weights still there, so masks are nested. From a mask of density ``d0`` the
    schedule runs relative to it: ``d_t = d0 * schedule(t, T, density / d0)``. ``params`` are
    given unmasked and not changed.

    Warns with the name of every layer left without weights, and of rounds whose scores are all
    zero, which they are once no signal passes the network. Raises ValueError for a density that
    keeps no weight or more than are left, an excluded module that is not there, or a criterion that
    follows paths where the network has none, and
    FloatingPointError, naming method, round and layer, for a score that is not finite.
    """
    masks.check(params, mask)
    is_prunable = masks.excluding(params, pruner.exclude)
    if pruner.follows_paths:
        paths.check_linear(model, params, state, batches.x[0])
    start = masks.density(mask, is_prunable)
    density = _attainable(mask, is_prunable, density)
    method, rounds = method_name(pruner), []
    by_depth = pruner.scope == "uniform_plus"
    order = masks.layers_by_depth(model, batches.x[0]) if by_depth else None
    progress = Progress(pruner.num_rounds, method, "round")
    for t in range(1, pruner.num_rounds + 1):
        began = time.perf_counter()
        target = _target(pruner, t, start, density)
        scores = pruner.score(jax.random.fold_in(key, t), model, params, state, mask, batches)
        quantiles = _quantiles(scores, mask, is_prunable)
        try:
            mask = masks.keep_top(scores, mask, target, pruner.scope, is_prunable, order)
        except FloatingPointError as error:
            where = f"{method}, round {t} of {pruner.num_rounds}"
            raise FloatingPointError(f"{where}: {error}") from None
        kept = sum(kept for kept, _ in masks.layer_counts(mask, is_prunable).values())
        seconds = time.perf_counter() - began
        rounds.append(Round(t, masks.density(mask, is_prunable), kept, quantiles, seconds))
        progress.set_postfix(density=f"{rounds[-1].density:.4f}", refresh=False)
        progress.update()
    progress.close()
    _warn_of_silence(method, rounds)
    return mask, _summary(tuple(rounds), masks.layer_counts(mask, is_prunable))


def _attainable(mask: Mask, is_prunable: masks.Prunable, density: float) -> float:
    """``density``, or that of the mask where it keeps as many weights. ValueError where it keeps
    more, or none."""
    counts = masks.layer_counts(mask, is_prunable).values()
    left, total = (sum(numbers) for numbers in zip(*counts, strict=True))
    if not 0.0 < density <= 1.0:
        raise ValueError(f"density must lie in (0, 1], got {density:g}")
    kept = round(density * total)
    if kept == 0:
        raise ValueError(f"density {density:g} keeps none of the {total} prunable weights")
    if kept > left:
        raise ValueError(
            f"cannot prune a mask of density {left / total:g} to density {density:g}: it keeps "
            f"{left} of {total} weights, fewer than {kept}"
        )
    return min(density, left / total)


def method_name(pruner: Pruner) -> str:
    """The factory that made the score: ``'snip'`` for ``snip().score``."""
    name = getattr(pruner.score, "__qualname__", type(pruner.score).__name__)
    return name.removesuffix(".<locals>.score").split(".")[-1]


def _target(pruner: Pruner, t: int, start: float, density: float) -> float:
    """The density after round ``t``; the last one is exact whatever the schedule's rounding."""
    if t == pruner.num_rounds:
        return density
    return min(start, start * pruner.schedule(t, pruner.num_rounds, density / start))


def _quantiles(scores: Scores, mask: Mask, is_prunable: masks.Prunable) -> tuple[float, ...]:
    """``QUANTILES`` of the scores of kept weights, by an O(n) selection."""
    pairs = zip(*(masks.leaves(t, is_prunable) for t in (scores, mask)), strict=True)
    values = np.concatenate([np.asarray(s)[np.asarray(m)] for (_, s), (_, m) in pairs])
    ranks = [round(q * (values.size - 1)) for q in QUANTILES]
    return tuple(float(v) for v in np.partition(values, ranks)[ranks])


def _warn_of_silence(method: str, rounds: list[Round]) -> None:
    """One warning for all rounds that had nothing to rank by."""
    silent = [r.round for r in rounds if not any(r.quantiles)]
    if silent:
        warnings.warn(
            f"{method}: all scores are zero in {len(silent)} of {len(rounds)} rounds, from round "
            f"{silent[0]} on: no signal passes the network, and the lower index was kept",
            stacklevel=3,
        )


def _summary(rounds: tuple[Round, ...], counts: dict[str, tuple[int, int]]) -> PruneInfo:
    collapsed = tuple(name for name, (kept, _) in counts.items() if kept == 0)
    if collapsed:
        warnings.warn(
            f"{len(collapsed)} of {len(counts)} layers have no weights left: "
            + ", ".join(collapsed),
            stacklevel=3,
        )
    return PruneInfo(rounds, counts, collapsed)
