"""One pure training step of a masked network; where it runs is decided elsewhere."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from ntk_prune import masks
from ntk_prune.losses import Loss, cross_entropy, labelled
from ntk_prune.training.optimisers import ascent
from ntk_prune.training.state import TrainState
from ntk_prune.types import Array, BatchNormMode, Key, Model


class Examples(NamedTuple):
    """Raw examples ``x [b, ...]``, labels ``y [b, ...]``, ``index [b]``, and a ``key``.

    ``index``, their places in the batch, counts over the global batch, so what is drawn for an
    example does not depend on the number of devices. ``key`` is that of the run's augmentation.
    """

    x: Array
    y: Array
    index: Array
    key: Key


Metrics = dict[str, Array]
Prepare = Callable[[Key, Array, Array, Array], Array]
"""``prepare(key, step, index [b], x [b, ...]) -> float inputs``: augmentation, normalisation."""
TrainStep = Callable[[TrainState, Examples, str | None], tuple[TrainState, Metrics]]


def make_train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    prepare: Prepare,
    loss: Loss = cross_entropy,
    batch_norm: BatchNormMode = "batch",
    sam_rho: float = 0.0,
    sam_adaptive: bool = False,
) -> TrainStep:
    """``train_step(state, batch, axis_name) -> (state, {"loss", "accuracy"})``.

    The loss is the mean over the labelled entries of the global batch of all devices along
    ``axis_name``, through ``params * mask``. Pruned weights receive no gradient and are zero again
    after the update, so their moments stay zero.

    With ``sam_rho`` it is sharpness-aware (SAM, Foret et al., arXiv 2010.01412): ``optimizer`` is
    given, at the parameters ``w``, the gradient at ``w + ascent(g, w)`` on the same batch, with
    ``g`` the gradient at ``w`` over all devices. Running statistics and metrics are those of ``w``.

    Args:
        model: The network.
        optimizer: The update rule.
        prepare: Raw examples to inputs.
        loss: One number per labelled entry.
        batch_norm: ``"batch"``: normalise by the statistics of the global batch; ``"running"``: by
            the running statistics, which then never change.
        sam_rho: Length of the step to the sharpest point near by; 0: none, one gradient a step.
        sam_adaptive: The step relative to the size of each weight.

    Raises ValueError for a ``sam_rho`` that is negative or not finite.
    """
    if not 0 <= sam_rho < math.inf:
        raise ValueError(f"sam_rho must be 0 or more, got {sam_rho}")

    def train_step(state: TrainState, batch: Examples, axis_name: str | None = None):
        x = prepare(batch.key, state.step, batch.index, batch.x)

        def loss_fn(params):
            pruned = masks.apply(params, state.mask)
            logits, new = model.apply(
                pruned, state.model_state, x, train=batch_norm == "batch", axis_name=axis_name
            )
            valid = labelled(batch.y, logits.shape[-1])
            count = valid.sum()
            if axis_name is not None:  # the share of a device may hold fewer labels than another's
                count = jax.lax.pmean(count, axis_name)

            def mean(values: Array) -> Array:
                return (values * valid).sum() / count

            value = mean(loss(logits, batch.y))
            accuracy = mean(logits.argmax(-1) == batch.y)
            return value, (new, {"loss": value, "accuracy": accuracy})

        def gradient(params):
            grads, (new, metrics) = jax.grad(loss_fn, has_aux=True)(params)
            if axis_name is not None:  # the mean of the gradients, not the gradient of a pmean
                grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
            return grads, new, metrics

        grads, new, metrics = gradient(state.params)
        if sam_rho:
            step = ascent(grads, state.params, sam_rho, sam_adaptive)
            grads, _, _ = gradient(optax.apply_updates(state.params, step))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = masks.apply(optax.apply_updates(state.params, updates), state.mask)
        return TrainState(state.step + 1, params, new, opt_state, state.mask), metrics

    return train_step
