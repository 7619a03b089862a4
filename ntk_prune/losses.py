"""Losses of every labelled entry; ``logits [B, ..., C]`` and integer labels ``y [B, ...]``.

A label outside ``0..C-1`` (255 in segmentation masks) is not labelled: it counts nowhere.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from ntk_prune.types import Array

Loss = Callable[[Array, Array], Array]
"""``loss(logits [B, ..., C], y [B, ...]) -> [B, ...]``, finite where a label is invalid."""


def labelled(y: Array, num_classes: int) -> Array:
    """Where ``y`` holds a class, bool of its shape."""
    return (y >= 0) & (y < num_classes)


def cross_entropy(logits: Array, y: Array) -> Array:
    """``-log softmax(logits)[y]``."""
    inside = jnp.where(labelled(y, logits.shape[-1]), y, 0)
    return optax.softmax_cross_entropy_with_integer_labels(logits, inside)


def squared_error(logits: Array, y: Array) -> Array:
    """Mean over the classes of ``(logits - one_hot(y))^2``."""
    return jnp.square(logits - jax.nn.one_hot(y, logits.shape[-1])).mean(-1)


def mean(loss: Loss, logits: Array, y: Array) -> Array:
    """The mean of ``loss`` over the labelled entries, a scalar."""
    valid = labelled(y, logits.shape[-1])
    return (loss(logits, y) * valid).sum() / valid.sum()


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "squared_error": squared_error}
