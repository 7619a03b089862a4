"""Optimisers and learning-rate schedules (in steps), with the conventions of PyTorch."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax

SCHEDULES = ("constant", "step", "cosine")


def learning_rate(
    peak: float,
    num_steps: int,
    schedule: str = "constant",
    *,
    drops: Sequence[int] = (),
    factor: float = 0.1,
    warmup: int = 0,
) -> optax.Schedule:
    """``step -> learning rate``: ``min(1, step / warmup)`` times one of three decays.

    Args:
        peak: The rate after warm-up.
        num_steps: Length of the training; the cosine reaches 0 there.
        schedule: constant; step (times ``factor`` from each of ``drops`` on); cosine.
        drops: Steps at which the rate drops, counted from the start of training.
        factor: What the rate is multiplied by at a drop.
        warmup: Steps of linear warm-up from 0.

    >>> rate = learning_rate(0.1, 100, "step", drops=(50, 75))
    >>> [round(float(rate(t)), 6) for t in (0, 49, 50, 75)]
    [0.1, 0.1, 0.01, 0.001]
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}")
    if drops and schedule != "step":
        raise ValueError(f"drops belong to schedule 'step', not to {schedule!r}")
    if not 0 <= warmup < num_steps:
        raise ValueError(f"warmup must lie in [0, {num_steps}) steps, got {warmup}")
    steps = optax.piecewise_constant_schedule(peak, dict.fromkeys(drops, factor))
    cosine = optax.cosine_decay_schedule(peak, num_steps - warmup)

    def rate(step):
        warm = jnp.minimum(1.0, step / warmup) if warmup else 1.0
        return warm * (
            cosine(jnp.maximum(step - warmup, 0)) if schedule == "cosine" else steps(step)
        )

    return rate


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """PyTorch's SGD, weight decay coupled to the gradient of every trainable parameter.

    ``g = grad + weight_decay w``; ``b = momentum b + g`` (at first ``b = g``);
    ``w -= lr b``, or with Nesterov ``w -= lr (g + momentum b)``.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(learning_rate, momentum or None, nesterov and momentum > 0),
    )


def adam(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Adam (arXiv 1412.6980), weight decay coupled to the gradient as in PyTorch."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


def adamw(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float = 0.01
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay, ``w -= lr weight_decay w`` (arXiv 1711.05101)."""
    return optax.adamw(learning_rate, weight_decay=weight_decay)


OPTIMISERS = {"sgd": sgd, "adam": adam, "adamw": adamw}
