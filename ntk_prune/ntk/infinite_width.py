"""The kernels of infinitely wide networks: NTK and NNGP in closed form (arXiv:1806.07572).

NTK parameterisation: ``f^h = W_std / sqrt(fan_in) W^h g^{h-1} + b_std b^h`` with ``W, b ~ N(0, 1)``
and ``g^h = activation(f^h)``. The outputs of such a network are independent and alike, so a kernel
here is that of one output, ``[n1, n2]``; of all of them it is ``kron(kernel, eye(num_outputs))``.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ntk_prune.types import Array

ACTIVATIONS = ("relu", "erf", "identity")
HEADS = ("mean", "flatten")


class Kernels(NamedTuple):
    """``ntk`` and ``nngp``, each ``[n1, n2]``, of one output."""

    ntk: Array
    nngp: Array


class Network(NamedTuple):
    """stax's triple: ``init(key, shape)``, ``apply(params, x)``, ``kernel(x1, x2, get)``."""

    init: Callable
    apply: Callable
    kernel: Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLP:
    """A fully connected network on flattened inputs.

    Args:
        widths: Units of each hidden layer; the kernels depend on their number alone.
        num_outputs: Outputs of the finite network.
        activation: relu, erf or identity.
        W_std: Standard deviation of a weight before the factor ``1 / sqrt(fan_in)``.
        b_std: Standard deviation of a bias; 0 is a network without biases.
    """

    widths: tuple[int, ...]
    num_outputs: int = 1
    activation: str = "relu"
    W_std: float = math.sqrt(2.0)
    b_std: float = 0.0

    def __post_init__(self):
        _one_of("activation", self.activation, ACTIVATIONS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CNN:
    """Convolutions with zero padding ``(kernel - 1) // 2``, then one linear layer.

    Args:
        channels: Channels of each convolution; the kernels depend on their number alone.
        strides: Stride of each convolution; all 1 by default.
        kernel: Side of the filters, odd.
        pools: Window and stride of the average pooling after each convolution; 1 is none.
        head: What joins the positions: their mean, or flatten.
        num_outputs: Outputs of the finite network.
        activation: relu, erf or identity.
        W_std: Standard deviation of a weight before the factor ``1 / sqrt(fan_in)``.
        b_std: Standard deviation of a bias; 0 is a network without biases.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...] = ()
    kernel: int = 3
    pools: tuple[int, ...] = ()
    head: str = "mean"
    num_outputs: int = 1
    activation: str = "relu"
    W_std: float = math.sqrt(2.0)
    b_std: float = 0.0

    def __post_init__(self):
        _one_of("activation", self.activation, ACTIVATIONS)
        _one_of("head", self.head, HEADS)
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd to be padded symmetrically, got {self.kernel}")
        for name in ("strides", "pools"):
            values = tuple(getattr(self, name)) or (1,) * len(self.channels)
            if len(values) != len(self.channels):
                raise ValueError(f"{len(self.channels)} channels need as many {name}: {values}")
            object.__setattr__(self, name, values)


def _one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"no analytic kernel for {field} {value!r}; choose one of {known}")


@functools.cache
def network(spec: MLP | CNN) -> Network:
    """The network of ``spec`` in neural-tangents' stax, finite and infinite.

    ``kernel(x1, x2, ("ntk", "nngp"))``; x2 = None is x1. With ``neural_tangents.load().batch`` it
    runs in blocks where it does not fit: the mean over ``p`` positions takes ``n1 n2 p^2`` numbers.
    """
    from ntk_prune.ntk import neural_tangents

    stax = neural_tangents.load().stax
    layers = _mlp(stax, spec) if isinstance(spec, MLP) else _cnn(stax, spec)
    init, apply, kernel = stax.serial(*layers)
    return Network(init, apply, jax.jit(kernel, static_argnames="get"))


def _activation(stax: Any, name: str) -> Any:
    return {"relu": stax.Relu, "erf": stax.Erf, "identity": stax.Identity}[name]()


def _mlp(stax: Any, spec: MLP) -> list:
    dense = functools.partial(stax.Dense, W_std=spec.W_std, b_std=spec.b_std or None)
    layers = [stax.Flatten()]
    for width in spec.widths:
        layers += [dense(width), _activation(stax, spec.activation)]
    return [*layers, dense(spec.num_outputs)]


def _cnn(stax: Any, spec: CNN) -> list:
    scales = {"W_std": spec.W_std, "b_std": spec.b_std or None}
    layers = []
    for channels, stride, pool in zip(spec.channels, spec.strides, spec.pools, strict=True):
        layers.append(stax.Conv(channels, (spec.kernel,) * 2, padding="SAME", **scales))
        if stride > 1:  # SAME with a stride would pad an even side on one end only
            layers.append(stax.Index(stax.Slice[:, ::stride, ::stride, :]))
        layers.append(_activation(stax, spec.activation))
        if pool > 1:
            layers.append(stax.AvgPool((pool, pool), (pool, pool)))
    head = stax.GlobalAvgPool() if spec.head == "mean" else stax.Flatten()
    return [*layers, head, stax.Dense(spec.num_outputs, **scales)]


def kernels(spec: MLP | CNN, x1: Array, x2: Array | None = None) -> Kernels:
    """``(ntk, nngp) [n1, n2]`` of the infinitely wide ``spec`` between ``x1 [n1, ...]`` and ``x2``.

    stax takes angles by arccos: entries of equal inputs carry an error of the root of the dtype's
    epsilon, 1e-8 in float64.

    Args:
        spec: The architecture.
        x1: Inputs ``[n1, features]`` or ``[n1, H, W, C]``.
        x2: Inputs of the same shape but for their number; None is ``x1``.

    Raises:
        ValueError: the inputs' shapes do not fit the architecture or each other.
    """
    ndim = jnp.ndim(x1)
    if isinstance(spec, CNN) and ndim != 4:
        raise ValueError(f"a CNN takes inputs [n, H, W, C], got shape {jnp.shape(x1)}")
    _same_features(x1, x1 if x2 is None else x2)
    result = network(spec).kernel(x1, x2, ("ntk", "nngp"))
    return Kernels(result.ntk, result.nngp)


def _same_features(x1: Array, x2: Array) -> None:
    if jnp.ndim(x1) < 2 or jnp.shape(x1)[1:] != jnp.shape(x2)[1:]:
        raise ValueError(
            "x1 and x2 must be batches of inputs of one shape,"
            f" got {jnp.shape(x1)} and {jnp.shape(x2)}"
        )


def relu_ntk(x1: Array, x2: Array, num_hidden_layers: int) -> Array:
    """NTK ``[n1, n2]`` of the infinitely wide ReLU network without biases, inputs unscaled.

    For ``f^h = W^h g^{h-1}``, ``g^0 = x``, ``g^h = sqrt(2 / d_h) relu(f^h)``, ``L`` hidden layers
    and ``theta_0`` the angle between the inputs: ``rho_h = cos theta_h`` with

        rho_h = (sin theta_{h-1} + (pi - theta_{h-1}) cos theta_{h-1}) / pi,
        Theta_h = rho_h + Theta_{h-1} (1 - theta_{h-1} / pi),    Theta_0 = rho_0,

    and the kernel is ``|x1| |x2| Theta_L`` (arXiv:1806.07572; 2203.14328 for its pruned version).
    The angles, not the cosines, are carried from layer to layer: accurate for near-equal inputs.

    Args:
        x1: Inputs ``[n1, d]``.
        x2: Inputs ``[n2, d]``.
        num_hidden_layers: ``L``, at least 0.

    Raises:
        ValueError: shapes that do not fit, or a negative number of layers.

    >>> float(relu_ntk(jnp.ones((1, 1)), jnp.ones((1, 1)), 3)[0, 0])
    4.0
    """
    if num_hidden_layers < 0:
        raise ValueError(f"num_hidden_layers must be at least 0, got {num_hidden_layers}")
    _same_features(x1, x2)
    return _relu_ntk(x1, x2, num_hidden_layers)


@functools.partial(jax.jit, static_argnums=2)
def _relu_ntk(x1: Array, x2: Array, num_hidden_layers: int) -> Array:
    norms1, units1 = _polar(x1)
    norms2, units2 = _polar(x2)
    angle = jax.lax.map(functools.partial(_angles, units2), units1)
    theta = jnp.cos(angle)
    for _ in range(num_hidden_layers):
        theta = theta * (1 - angle / jnp.pi)
        angle = _next_angle(angle)
        theta = theta + jnp.cos(angle)
    return norms1[:, None] * norms2[None, :] * theta


def _polar(x: Array) -> tuple[Array, Array]:
    """``|x| [n]`` and ``x / |x| [n, d]``, which is 0 for x = 0."""
    norms = jnp.linalg.norm(x, axis=1)
    return norms, x / jnp.where(norms == 0, 1, norms)[:, None]


def _angles(units: Array, unit: Array) -> Array:
    """Angles ``[n]`` of ``unit [d]`` to ``units [n, d]``; arccos would lose half the digits."""
    apart = jnp.linalg.norm(units - unit[None], axis=1)
    along = jnp.linalg.norm(units + unit[None], axis=1)
    return 2 * jnp.arctan2(apart, along)


def _next_angle(angle: Array) -> Array:
    """``arccos((sin a + (pi - a) cos a) / pi)`` through ``1 - cos``, which is small with ``a``."""
    gap = 2 * jnp.sin(angle / 2) ** 2 - (jnp.sin(angle) - angle * jnp.cos(angle)) / jnp.pi
    return 2 * jnp.arcsin(jnp.sqrt(jnp.maximum(gap, 0) / 2))
