"""One pure training step of a masked network; where it runs is decided elsewhere."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from ntk_prune import masks
from ntk_prune.training.state import TrainState
from ntk_prune.types import Array, Model


class Examples(NamedTuple):
    """Raw examples ``x [b, ...]``, labels ``y [b]``, and ``index [b]``, their places in the batch.

    ``index`` counts over the global batch, so what is drawn for an example does not depend on
    the number of devices.
    """

    x: Array
    y: Array
    index: Array


Metrics = dict[str, Array]
Prepare = Callable[[Array, Array, Array], Array]
"""``prepare(step, index [b], x [b, ...]) -> float inputs``: augmentation and normalisation."""
TrainStep = Callable[[TrainState, Examples, str | None], tuple[TrainState, Metrics]]


def make_train_step(
    model: Model, optimizer: optax.GradientTransformation, prepare: Prepare
) -> TrainStep:
    """``train_step(state, batch, axis_name) -> (state, {"loss", "accuracy"})``.

    The loss is the mean softmax cross entropy over the global batch of all devices along
    ``axis_name``, through ``params * mask``, under batch statistics of the global batch. Pruned
    weights receive no gradient and are zero again after the update, so their moments stay zero.
    """

    def train_step(state: TrainState, batch: Examples, axis_name: str | None = None):
        x = prepare(state.step, batch.index, batch.x)

        def loss_fn(params):
            logits, new = model.apply(
                masks.apply(params, state.mask), state.state, x, train=True, axis_name=axis_name
            )
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch.y).mean()
            accuracy = (logits.argmax(-1) == batch.y).mean()
            return loss, (new, {"loss": loss, "accuracy": accuracy})

        grads, (new, metrics) = jax.grad(loss_fn, has_aux=True)(state.params)
        if axis_name is not None:  # the mean of the gradients, not the gradient of a pmean
            grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = masks.apply(optax.apply_updates(state.params, updates), state.mask)
        return TrainState(state.step + 1, params, new, opt_state, state.mask), metrics

    return train_step
