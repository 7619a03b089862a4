"""Augmentation of one image on the device, and the keys that make it reproducible.

Digits are best left alone: a mirrored digit is another sign. ``pad_crop_flip(1, flip=False)`` is
possible for them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ntk_prune.data.dataset import check_image_size, check_statistics
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


def resized_crop_flip(
    scale: tuple[float, float] = (0.1, 1.0), ratio: tuple[float, float] = (0.8, 1.25)
) -> Augment:
    """Crop a random rectangle, stretch it to the old size (bilinear), mirror with chance 1/2.

    The area of the crop is ``U(scale)`` of the image's, width / height is log-uniform in ``ratio``;
    of ten draws the first that fits is taken, else the largest centred crop within ``ratio``
    (Szegedy et al., 1409.4842). Raises ValueError for impossible bounds.
    """
    if not (0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]):
        raise ValueError(f"impossible bounds of a random crop: scale {scale}, ratio {ratio}")

    def augment(key: Key, x: Array) -> Array:
        key_crop, key_flip = jax.random.split(key)
        height, width = x.shape[:2]
        top, left, h, w = _crop(key_crop, height, width, scale, ratio)
        rows, columns = _bilinear(height, top, h), _bilinear(width, left, w)
        # Full precision: reduced-precision matrix units would be off by whole grey levels.
        y = jnp.einsum("ij,jkc,lk->ilc", rows, x.astype(jnp.float32), columns, precision="highest")
        x = jnp.round(y).astype(x.dtype)
        return jnp.where(jax.random.bernoulli(key_flip), x[:, ::-1], x)

    return augment


def _crop(
    key: Key, height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Array, Array, Array, Array]:
    """``(top, left, h, w)`` of a random crop, see ``resized_crop_flip``."""
    keys = jax.random.split(key, 4)
    area = height * width * jax.random.uniform(keys[0], (10,), minval=scale[0], maxval=scale[1])
    low, high = jnp.log(jnp.array(ratio))
    aspect = jnp.exp(jax.random.uniform(keys[1], (10,), minval=low, maxval=high))
    h = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    w = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
    first, some_fit = jnp.argmax(fits), fits.any()
    h = jnp.where(some_fit, h[first], min(height, round(width / ratio[0])))
    w = jnp.where(some_fit, w[first], min(width, round(height * ratio[1])))
    top = jnp.where(some_fit, jax.random.randint(keys[2], (), 0, height - h + 1), (height - h) // 2)
    left = jnp.where(some_fit, jax.random.randint(keys[3], (), 0, width - w + 1), (width - w) // 2)
    return top, left, h, w


def _bilinear(n: int, start: Array, length: Array) -> Array:
    """``[n, n]``: weights that stretch the pixels ``start .. start + length - 1`` to ``n``.

    Nothing outside the crop is read, as when it is cut out first.
    """
    pixels = jnp.arange(n)
    source = start + jnp.clip((pixels + 0.5) * length / n - 0.5, 0, length - 1)
    return jnp.maximum(0, 1 - jnp.abs(source[:, None] - pixels[None, :]))


def resize_batch(size: int) -> Callable[[Array], Array]:
    """``f(x uint8 [..., H, W, C]) -> uint8 [..., size, size, C]``, bilinear; averages to shrink.

    It stands between augmentation and ``normalise``, in training and at test time, for networks
    that want larger images than the set has. Raises ValueError unless ``size`` is positive.
    """
    check_image_size(size)

    def resize(x: Array) -> Array:
        shape = (*x.shape[:-3], size, size, x.shape[-1])
        y = jax.image.resize(jnp.asarray(x).astype(jnp.float32), shape, "bilinear")
        return jnp.round(y).astype(x.dtype)

    return resize


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
