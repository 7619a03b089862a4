"""What training carries from step to step."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from ntk_prune import masks
from ntk_prune.types import Array, Mask, Params, State


class TrainState(NamedTuple):
    """Everything needed to continue: restored from a checkpoint, a run goes on bit for bit.

    ``step`` counts the updates made (int32 scalar). ``params`` and the moments in ``opt_state``
    are exactly zero wherever ``mask`` is False. ``model_state`` holds the running statistics.
    """

    step: Array
    params: Params
    model_state: State
    opt_state: optax.OptState
    mask: Mask


def create(
    params: Params, state: State, mask: Mask, optimizer: optax.GradientTransformation
) -> TrainState:
    """The state before the first step, its parameters multiplied by the mask.

    Raises ValueError when ``mask`` does not fit ``params``.
    """
    masks.check(params, mask)
    params = masks.apply(params, mask)
    return TrainState(jnp.zeros((), jnp.int32), params, state, optimizer.init(params), mask)
