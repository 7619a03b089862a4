"""The convolution of the networks here: XLA's, or a matrix product where a CPU is faster so."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from ntk_prune.conv_patches import Window, patches

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_SAME = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1))


def convolve(
    lhs: Array,
    rhs: Array,
    window_strides: tuple[int, ...],
    padding: list[tuple[int, int]],
    *,
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    feature_group_count: int = 1,
    precision: lax.PrecisionLike = None,
    **kwargs,
) -> Array:
    """``jax.lax.conv_general_dilated`` of images ``[B, H, W, C]`` and a kernel ``[h, w, C, F]``.

    Where the image is smaller than the (dilated) kernel, the matrix of its patches is multiplied:
    on a CPU, XLA takes a hundred times longer over such. VGG-16 on 32x32 and ResNet-18 on 64x64 end
    in images of 2x2. On a CPU, a 1x1 convolution is a product too, and so is the kernel gradient of
    a 3x3 convolution with stride 1.
    """
    window = Window(
        rhs.shape[:-2], window_strides, tuple(padding), tuple(lhs_dilation), tuple(rhs_dilation)
    )
    on_cpu = jax.default_backend() == "cpu"
    small = any(n < r for n, r in zip(lhs.shape[1:-1], window.reach, strict=True))
    if feature_group_count == 1 and (small or (on_cpu and window.shape == (1, 1))):
        return jnp.tensordot(patches(window, lhs), rhs, rhs.ndim - 1, precision=precision)
    if feature_group_count == 1 and on_cpu and window == _SAME and precision is None:
        return _same(lhs, rhs)
    return lax.conv_general_dilated(
        lhs,
        rhs,
        window_strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        feature_group_count=feature_group_count,
        precision=precision,
        **kwargs,
    )


@jax.custom_jvp
def _same(x: Array, w: Array) -> Array:
    """The 3x3 convolution with stride 1 and padding 1, whose derivative in ``w`` is a product."""
    return lax.conv_general_dilated(x, w, (1, 1), _SAME.padding, dimension_numbers=_LAYOUT)


@_same.defjvp
def _same_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]):
    (x, w), (dx, dw) = primals, tangents
    return _same(x, w), _same(dx, w) + _product(x, dw)


def _product(x: Array, w: Array) -> Array:
    """``_same(x, w)`` as one product of pixels by ``[3C, 3F]``, in a form whose transpose is fast.

    ``y[h] = sum_i p_i[h + i - 1]`` with ``p_i = a w_i``, where ``h`` and ``b`` count rows and
    columns and ``a[b] = [x[b - 1], x[b], x[b + 1]]`` lies side by side in the channels. The
    transpose in ``w`` is ``a^T [dy shifted]``: 3C + 3F numbers a pixel, where a matrix of patches
    has 9C + F.
    """
    channels, features = w.shape[2:]
    a = jnp.concatenate([_shift(x, -1, 2), x, _shift(x, 1, 2)], -1)
    matrix = w.transpose(1, 2, 0, 3).reshape(3 * channels, 3 * features)
    products = (a.reshape(-1, 3 * channels) @ matrix).reshape(*x.shape[:-1], 3 * features)
    above, here, below = lax.split(products, (features,) * 3, products.ndim - 1)
    return _shift(above, -1, 1) + here + _shift(below, 1, 1)


def _shift(x: Array, by: int, axis: int) -> Array:
    """``out[i] = x[i + by]`` along an axis, zero beyond it: one pad, as is its transpose."""
    margins = [(0, 0, 0)] * x.ndim
    margins[axis] = (-by, by, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), margins)
