"""From one level of iterative pruning to the next (Frankle and Carbin, arXiv 1803.03635).

Level 0 is the dense network. Level ``k`` keeps ``round((1 - f)^k n)`` of the ``n`` prunable
weights, all of them kept by level ``k - 1``, and starts where the dense training was at the rewind
step (arXiv 1912.05671).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ntk_prune import masks
from ntk_prune.pruners import PRUNERS, PruneInfo, magnitude, prune, random
from ntk_prune.training import TrainState
from ntk_prune.types import Batch, Key, Mask, Model, Params, Pruner, State


def sparse_global() -> Pruner:
    """Iterative magnitude pruning: the smallest weights of all layers together go."""
    return magnitude("global")


def sparse_layerwise() -> Pruner:
    """The smallest weights of every layer go, the same fraction in each."""
    return magnitude("layer")


def random_global() -> Pruner:
    """Weights anywhere go with equal probability."""
    return random("global")


def random_rescale_global() -> Pruner:
    """As ``random_global``; the weights that stay are multiplied by ``1 / sqrt(density)``."""
    return random("global")


STRATEGIES: dict[str, Callable[..., Pruner]] = {
    "sparse_global": sparse_global,
    "sparse_layerwise": sparse_layerwise,
    "random_global": random_global,
    "random_rescale_global": random_rescale_global,
    **PRUNERS,
}

RESCALING = ("random_rescale_global",)
"""The strategies whose surviving weights are rescaled."""


def level_density(fraction: float, level: int) -> float:
    """``(1 - fraction)^level``.

    >>> level_density(0.2, 2)
    0.6400000000000001
    """
    return (1.0 - fraction) ** level


def next_mask(
    key: Key,
    pruner: Pruner,
    model: Model,
    params: Params,
    state: State,
    mask: Mask,
    batches: Batch,
    fraction: float,
    level: int,
) -> tuple[Mask, PruneInfo]:
    """The mask of ``level``: ``round((1 - f)^level n)`` weights out of the level before.

    With a pruner of scope "layer" the count holds in every layer.

    Args:
        key: Of this level.
        pruner: The criterion; one with several rounds takes them all within this level.
        model: The network.
        params: The weights that the criterion looks at, trained or rewound.
        state: The running statistics that belong to them.
        mask: Of ``level - 1``.
        batches: Training examples for criteria that look at data.
        fraction: ``f``, the share of the surviving weights that one level removes.
        level: From 1 on.
    """
    # The level before may have been rounded down to less than this one asks for.
    left = masks.density(mask, masks.excluding(params, pruner.exclude))
    density = min(level_density(fraction, level), left)
    return prune(key, pruner, model, params, state, mask, batches, density)


def rewind(state: TrainState, mask: Mask) -> TrainState:
    """``state``, the rewind point, under another mask.

    Weights and moments outside it are zero, those inside it the same bit for bit; step and running
    statistics stay. Raises ValueError when ``mask`` does not fit the weights.
    """
    masks.check(state.params, mask)
    structure = jax.tree.structure(mask)

    def like_params(tree: Any) -> bool:
        return jax.tree.structure(tree) == structure

    def masked(tree: Any) -> Any:
        return masks.apply(tree, mask) if like_params(tree) else tree

    return state._replace(
        params=masks.apply(state.params, mask),
        opt_state=jax.tree.map(masked, state.opt_state, is_leaf=like_params),
        mask=mask,
    )


def rescale(params: Params, density: float) -> Params:
    """Prunable weights times ``1 / sqrt(density)``: what a random mask of that density takes from
    the variance of every unit's input (Yang and Wang, arXiv 2203.14328)."""
    return jax.tree.map(
        lambda p, prunable: p / jnp.sqrt(density).astype(p.dtype) if prunable else p,
        params,
        masks.prunable(params),
    )
