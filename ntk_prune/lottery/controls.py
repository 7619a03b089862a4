"""What a ticket is compared with: a random mask, or other initial weights under its mask."""

from typing import Literal

import jax
import numpy as np

from ntk_prune import masks
from ntk_prune.pruners.common import check_choice
from ntk_prune.types import Array, Key, Mask, Model, Params, State

RandomScope = Literal["layer", "global", "even"]


def randomly_prune(key: Key, mask: Mask, scope: RandomScope = "layer") -> Mask:
    """A random mask as dense as ``mask``.

    "layer": the same count in every layer, at other positions. "global": the same count in all,
    anywhere. "even": the same density in every layer, to rounding. Raises ValueError for another
    scope.
    """
    check_choice(("layer", "global", "even"), scope=scope)
    if scope == "layer":
        return masks.shuffle(key, mask)
    leaves, treedef = jax.tree.flatten(mask)
    keys = jax.random.split(key, len(leaves))
    drawn = [np.asarray(jax.random.uniform(k, m.shape)) for k, m in zip(keys, leaves, strict=True)]
    scores = jax.tree.unflatten(treedef, drawn)
    everything = masks.ones_like(mask)
    return masks.keep_top(
        scores, everything, masks.density(mask), "layer" if scope == "even" else "global"
    )


def randomly_reinitialise(
    key: Key, model: Model, example: Array, mask: Mask
) -> tuple[Params, State]:
    """Newly drawn weights under ``mask``, and their state. ``example [1, ...]`` gives shapes."""
    params, state = jax.jit(model.init)(key, example)
    masks.check(params, mask)
    return masks.apply(params, mask), state
