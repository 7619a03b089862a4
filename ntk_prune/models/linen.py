"""The adapter from a linen module to ``Model``, and the layers that the networks here share.

Conventions of the field's PyTorch codes, so that weights and scores can be compared: explicit
symmetric padding, batch norm with eps 1e-5 whose running variance takes N-1, kernels drawn from
Kaiming normal with fan-in.
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from ntk_prune.activations import PLAIN, Open
from ntk_prune.models.convolution import convolve
from ntk_prune.types import Activation, Array, Key, Model, Params, State

Init = Callable[..., Array]  # (key, shape, dtype) -> array
Mode = dict[str, Any]  # the keywords of a BatchNorm: train, momentum, axis_name, activation

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def uniform_fan_in(fan_in: int):
    """PyTorch's default for a linear layer's kernel and bias: uniform on +-1/sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(fan_in)

    def init(key: Key, shape, dtype=jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class BatchNorm(nn.Module):
    """Batch norm over all axes but the last, with the statistics of PyTorch.

    ``y = (x - mean) / sqrt(var + eps) * scale + bias``. With ``train`` the batch's mean and biased
    variance normalise, and the running statistics become ``momentum * old + (1 - momentum) * new``
    where the new variance takes N-1; otherwise the running statistics normalise. ``axis_name``
    averages the batch statistics over a mapped axis, so the devices act as one. ``activation``
    applies the affine map.
    """

    eps: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        x,
        *,
        train: bool,
        momentum: float = 0.9,
        axis_name: str | None = None,
        activation: Activation = PLAIN,
    ):
        features = x.shape[-1]
        stats = jnp.promote_types(x.dtype, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, (features,))
        bias = self.param("bias", nn.initializers.zeros, (features,))
        mean = self.variable("batch_stats", "mean", jnp.zeros, (features,))
        var = self.variable("batch_stats", "var", jnp.ones, (features,))
        mu, sigma2 = mean.value, var.value
        if train:
            mu, sigma2, count = _moments(x.astype(stats), axis_name)
            if not self.is_initializing():
                unbiased = sigma2 * (count / max(count - 1, 1))
                mean.value = momentum * mean.value + (1 - momentum) * mu
                var.value = momentum * var.value + (1 - momentum) * unbiased
        slope = jax.lax.rsqrt(sigma2 + self.eps) * scale
        y = activation.affine(x.astype(stats), over(x, mu), over(x, slope), over(x, bias))
        return y.astype(self.dtype or x.dtype)


def mode_of(train: bool, momentum: float, axis_name: str | None, activation: Activation) -> Mode:
    """The keywords of a network's call as those of its batch norms."""
    return {
        "train": train,
        "momentum": momentum,
        "axis_name": axis_name,
        "activation": activation,
    }


def over(x: Array, per_channel: Array) -> Array:
    """``per_channel [C]`` with the rank of ``x [..., C]``."""
    return jnp.expand_dims(per_channel, range(x.ndim - 1))


def _moments(x: Array, axis_name: str | None) -> tuple[Array, Array, int]:
    """Mean and biased variance over all axes but the last, in two passes, and the count."""
    axes = tuple(range(x.ndim - 1))
    count = math.prod(x.shape[:-1])
    mean = x.mean(axes)
    if axis_name is not None:
        mean = jax.lax.pmean(mean, axis_name)
        count *= jax.lax.axis_size(axis_name)
    var = _variance(x, mean)
    return mean, var if axis_name is None else jax.lax.pmean(var, axis_name), count


@jax.custom_jvp
def _variance(x: Array, mean: Array) -> Array:
    """The mean square of ``x [..., C]`` from its mean over all axes (and devices) but the last."""
    return jnp.square(x - over(x, mean)).mean(tuple(range(x.ndim - 1)))


@_variance.defjvp
def _variance_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]):
    """``2 mean((x - mean) dx)``: the term through the mean vanishes, as ``mean(x - mean)`` does."""
    (x, mean), (dx, _) = primals, tangents
    axes = tuple(range(x.ndim - 1))
    return _variance(x, mean), 2 * ((x - over(x, mean)) * dx).mean(axes)


def conv(
    features: int,
    kernel: int,
    stride: int = 1,
    *,
    name: str,
    dilation: int = 1,
    bias: bool = False,
    kernel_init: Init = kaiming_normal,
    **kwargs,
):
    """A square convolution with symmetric padding ``dilation * (kernel - 1) // 2``."""
    return nn.Conv(
        features,
        (kernel, kernel),
        (stride, stride),
        padding=dilation * (kernel - 1) // 2,
        kernel_dilation=dilation,
        use_bias=bias,
        kernel_init=kernel_init,
        conv_general_dilated=convolve,
        name=name,
        **kwargs,
    )


def conv_bn(
    x: Array,
    features: int,
    kernel: int,
    stride: int = 1,
    *,
    name: str,
    mode: Mode,
    dtype: Any = None,
    **kwargs,
) -> Array:
    """A convolution without bias and its batch norm; ``{}`` in ``name`` becomes conv and bn."""
    x = conv(features, kernel, stride, name=name.format("conv"), dtype=dtype, **kwargs)(x)
    return BatchNorm(name=name.format("bn"), dtype=dtype)(x, **mode)


def bn_relu_conv(
    x: Array,
    features: int,
    kernel: int,
    stride: int = 1,
    *,
    name: str,
    mode: Mode,
    dtype: Any = None,
) -> Array:
    """Batch norm, ReLU and a convolution without bias, Kaiming normal with fan-out; ``{}`` in
    ``name`` becomes bn and conv."""
    x = mode["activation"].relu(BatchNorm(name=name.format("bn"), dtype=dtype)(x, **mode))
    name, init = name.format("conv"), kaiming_fan_out
    return conv(features, kernel, stride, name=name, kernel_init=init, dtype=dtype)(x)


def dense(
    features: int,
    fan_in: int,
    *,
    name: str,
    bias: bool = True,
    kernel_init: Init = kaiming_normal,
    dtype: Any = None,
):
    """A linear layer with PyTorch's uniform bias."""
    return nn.Dense(
        features,
        use_bias=bias,
        kernel_init=kernel_init,
        bias_init=uniform_fan_in(fan_in),
        dtype=dtype,
        name=name,
    )


def flatten(x: Array) -> Array:
    """``[B, ...] -> [B, prod(...)]``."""
    return x.reshape(x.shape[0], -1)


def mean_pool(x: Array, window: int) -> Array:
    """The mean of each ``window x window`` square of ``x [B, H, W, C]``; a rest is dropped."""
    return nn.avg_pool(x, (window, window), (window, window)) if window > 1 else x


DEEPEST = 2**11
"""Layers or blocks of the deepest network that is built; every one is traced."""
LARGEST_SIZES = {
    **dict.fromkeys(("width", "widths", "channels", "growth", "num_classes"), 2**20),
    **dict.fromkeys(("strides", "heads", "patch"), 2**12),
    "depth": DEEPEST,
}
"""Fields of a module that say how large it is: units, geometry, repeated blocks."""
_MODE = ("train", "momentum", "axis_name", "activation")


def model(module: nn.Module) -> Model:
    """The ``Model`` of a linen module ``module(x, *, train, momentum, axis_name, activation)``.

    A module without batch norm may leave out any of the first three keywords, a module that is
    not piecewise linear the last. ``state`` holds every collection but ``params``; logits come back
    in at least float32. Sums over paths are made in the type of their inputs and weights, whatever
    ``dtype`` the module, or a module that is its field, computes in. ValueError for sizes of it
    (``LARGEST_SIZES``) that are not positive, or so large that it would never be built.
    """
    _check_sizes(module)
    accepted = inspect.signature(type(module).__call__).parameters
    return Model(
        init=functools.partial(_init, module, "train" in accepted),
        apply=functools.partial(_apply, module, tuple(k for k in _MODE if k in accepted)),
    )


def _check_sizes(module: nn.Module) -> None:
    for name, largest in LARGEST_SIZES.items():
        size = getattr(module, name, 1)
        sizes = size if isinstance(size, tuple) else (size,)
        if min(sizes, default=1) <= 0:
            raise ValueError(f"{name} must be positive, got {size}")
        if max(sizes, default=1) > largest:
            raise ValueError(f"{name} must be at most {largest}, got {size}")
    for field in dataclasses.fields(module):
        inner = getattr(module, field.name, None)
        if isinstance(inner, nn.Module) and field.name != "parent":
            _check_sizes(inner)


def _init(module: nn.Module, has_train: bool, key: Key, x: Array) -> tuple[Params, State]:
    mode: dict[str, Any] = {"train": False} if has_train else {}
    state = dict(module.init(key, x, **mode))
    return state.pop("params"), state


def _apply(
    module: nn.Module,
    accepted: tuple[str, ...],
    params: Params,
    state: State,
    x: Array,
    *,
    train: bool,
    momentum: float = 0.9,
    axis_name: str | None = None,
    activation: Activation | None = None,
) -> tuple[Array, State]:
    if momentum != 0.9 and state and "momentum" not in accepted:
        raise TypeError(
            f"{type(module).__name__} keeps state but takes no `momentum`: give its __call__ the "
            "keyword and pass it to ntk_prune.models.BatchNorm"
        )
    if activation is not None and "activation" not in accepted:
        raise ValueError(
            f"{type(module).__name__} has no paths to follow: that takes a network of ReLUs, max "
            "pools and linear layers whose __call__ takes `activation`"
        )
    mode: dict[str, Any] = {"train": train, "momentum": momentum, "axis_name": axis_name}
    mode["activation"] = PLAIN if activation is None else activation
    mode = {k: v for k, v in mode.items() if k in accepted}
    if isinstance(activation, Open):
        module = _following_inputs(module)
    mutable = list(state) if train else []
    logits, new = module.apply({"params": params, **state}, x, mutable=mutable, **mode)
    new = new if train else state
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32)), dict(new)


def _following_inputs(module: nn.Module) -> nn.Module:
    """``module`` without a compute type, and those that are its fields."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name) if field.init else None
        if field.name == "dtype":
            changes["dtype"] = None
        elif isinstance(value, nn.Module) and field.name != "parent":
            changes[field.name] = _following_inputs(value)
    return module.clone(**changes)
