"""What a ticket is compared with: a random mask, or other initial weights under its mask."""

from typing import Literal

import jax
import numpy as np

from ntk_prune import masks
from ntk_prune.compiling import jit_once
from ntk_prune.pruners.common import check_choice
from ntk_prune.types import Array, Key, Mask, Model, Params, State

RandomCounts = Literal["layer", "global", "even"]


def randomly_prune(key: Key, mask: Mask, counts: RandomCounts = "layer") -> Mask:
    """A random mask as dense as ``mask``.

    Args:
        key: Draws the positions.
        mask: Whose counts are kept.
        counts: Which of them: of each ``"layer"``; the ``"global"`` one, anywhere; or the global
            one, ``"even"``, with one density in all layers, to rounding. (The scope ``"layer"`` of
            a pruner is ``"even"`` here: it does not know a mask to take counts from.)

    Raises:
        ValueError: for other ``counts``.
    """
    check_choice(("layer", "global", "even"), counts=counts)
    if counts == "layer":
        return masks.shuffle(key, mask)
    leaves, treedef = jax.tree.flatten(mask)
    keys = jax.random.split(key, len(leaves))
    drawn = [np.asarray(jax.random.uniform(k, m.shape)) for k, m in zip(keys, leaves, strict=True)]
    scores = jax.tree.unflatten(treedef, drawn)
    everything = masks.ones_like(mask)
    return masks.keep_top(
        scores, everything, masks.density(mask), "layer" if counts == "even" else "global"
    )


def randomly_reinitialise(
    key: Key, model: Model, example: Array, mask: Mask
) -> tuple[Params, State]:
    """Newly drawn weights under ``mask``, and their state. ``example [1, ...]`` gives shapes."""
    params, state = jit_once(model.init)(key, example)
    masks.check(params, mask)
    return masks.apply(params, mask), state
