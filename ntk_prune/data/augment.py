"""Augmentation of one image on the device, and the keys that make it reproducible.

Digits are best left alone: a mirrored digit is another sign. ``pad_crop_flip(1, flip=False)`` is
possible for them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ntk_prune.data.dataset import check_statistics
from ntk_prune.types import Array, Key

Augment = Callable[[Key, Array], Array]
"""``augment(key, x uint8 [H, W, C]) -> uint8 [H, W, C]``."""


def identity(key: Key, x: Array) -> Array:
    """``x`` unchanged."""
    del key
    return x


def pad_crop_flip(padding: int = 4, flip: bool = True) -> Augment:
    """Pad with black, crop a random window of the old size, mirror left-right with chance 1/2.

    The zeros are put in before normalisation, as in the CIFAR recipe of He et al. (1512.03385).
    Raises ValueError for a negative ``padding``.
    """
    if padding < 0:
        raise ValueError(f"padding must not be negative, got {padding}")

    def augment(key: Key, x: Array) -> Array:
        key_crop, key_flip = jax.random.split(key)
        padded = jnp.pad(x, ((padding, padding), (padding, padding), (0, 0)))
        row, column = jax.random.randint(key_crop, (2,), 0, 2 * padding + 1)
        x = jax.lax.dynamic_slice(padded, (row, column, 0), x.shape)
        if flip:
            x = jnp.where(jax.random.bernoulli(key_flip), x[:, ::-1], x)
        return x

    return augment


def augment_batch(augment: Augment, key: Key, step: Array | int, index: Array, x: Array) -> Array:
    """Augment ``x [B, H, W, C]``; example ``i`` uses ``fold_in(fold_in(key, step), index[i])``.

    ``index [B]`` numbers the examples in the data set (or in the global batch), so the result does
    not depend on how a batch is shared over devices.
    """
    key = jax.random.fold_in(key, step)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
    return jax.vmap(augment)(keys, x)


def normalise(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Array], Array]:
    """``f(x uint8 [..., H, W, C]) = (x / 255 - mean) / std`` in float32, per channel.

    Raises ValueError for statistics that do not fit; ``f`` raises TypeError unless ``x`` is uint8
    and ValueError for another number of channels.

    >>> normalise((0.5,), (0.5,))(jnp.array([[[0], [255]]], jnp.uint8)).ravel().tolist()
    [-1.0, 1.0]
    """
    channels = len(mean)
    check_statistics(mean, std, channels)

    def prepare(x: Array) -> Array:
        if x.dtype != jnp.uint8:
            raise TypeError(f"normalise takes uint8 images in 0..255, got {x.dtype}")
        if x.shape[-1] != channels:
            raise ValueError(f"normalise has {channels} channels, the images have {x.shape[-1]}")
        shape = (1,) * (x.ndim - 1) + (channels,)
        centre = jnp.array(mean, jnp.float32).reshape(shape)
        scale = jnp.array(std, jnp.float32).reshape(shape)
        return (jnp.asarray(x).astype(jnp.float32) / 255 - centre) / scale

    return prepare
