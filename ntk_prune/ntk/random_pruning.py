"""Randomly pruned networks against their infinite-width limit (arXiv:2203.14328).

A network with ``L`` hidden layers, no biases and weights ``W ~ N(0, 1)``, each kept with
probability ``alpha`` by its own ``m ~ Bernoulli(alpha)``, in NTK parameterisation:

    g^0 = x,    f^h = (W^h o m^h) g^{h-1},    g^h = sqrt(2 / d_h) relu(f^h),    f = f^{L+1}

Its NTK converges to ``alpha^L Theta_inf`` as the widths grow, and to ``Theta_inf`` if every kept
weight is divided by ``sqrt(alpha)``; ``L`` counts the pruned layers, of which the input layer is
one only with ``prune_input``. relu is homogeneous, so that division multiplies the network of any
width by ``alpha^{-L/2}`` and its NTK by ``alpha^{-L}``: one draw gives both kernels.

The theorem covers ``FullyConnected``. ``Convolutional`` is the same experiment without a theorem.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32

from ntk_prune.ntk import infinite_width
from ntk_prune.types import Array, Key


@dataclasses.dataclass(frozen=True)
class _RandomNetwork:
    """What both kinds of networks are made of; refuses what cannot be."""

    width: int
    depth: int = 3
    density: float = 1.0
    prune_input: bool = False

    def __post_init__(self):
        if self.width < 1 or self.depth < 1:
            raise ValueError(f"width and depth must be at least 1, got {self}")
        if not 0 < self.density <= 1:
            raise ValueError(f"density must be in (0, 1], got {self.density}")


class FullyConnected(_RandomNetwork):
    """``depth`` hidden layers of ``width`` units on inputs ``[d]``, one output.

    Args:
        width: Units of each hidden layer.
        depth: ``L``, the number of hidden layers.
        density: ``alpha``, the probability of keeping a weight.
        prune_input: Whether the first layer is pruned too.

    >>> FullyConnected(8, depth=2).layer_shapes((3,))
    ((8, 3), (8, 8), (1, 8))
    """

    def layer_shapes(self, input_shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """The shapes ``[d_h, d_{h-1}]`` of all weights."""
        return _chain(input_shape[0], self.width, self.depth, patch=1)

    def kernel(self, weights: "Layers", masks: "Masks", x1: Array, x2: Array) -> Array:
        """The NTK of ``fc_kernel``."""
        return fc_kernel(weights, masks, x1, x2)

    def unpruned_limit(self, x1: Array, x2: Array) -> float:
        """``Theta_inf(x1, x2)``."""
        return float(infinite_width.relu_ntk(x1[None], x2[None], self.depth)[0, 0])


class Convolutional(_RandomNetwork):
    """``depth`` zero-padded 3x3 convolutions on images ``[H, W, C]``, their mean, one output.

    Every layer has the factor ``sqrt(2 / fan_in)`` in front of its weights, as in
    ``infinite_width.CNN``.

    Args:
        width: Channels of each convolution.
        depth: Number of convolutions.
        density: ``alpha``, the probability of keeping an entry of a kernel.
        prune_input: Whether the first convolution is pruned too.

    >>> Convolutional(8, depth=2).layer_shapes((4, 4, 3))
    ((8, 27), (8, 72), (1, 8))
    """

    def layer_shapes(self, input_shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """The shapes ``[channels, 9 * channels before]`` of all weights."""
        return _chain(input_shape[-1], self.width, self.depth, patch=9)

    def kernel(self, weights: "Layers", masks: "Masks", x1: Array, x2: Array) -> Array:
        """The NTK of ``cnn_kernel``."""
        return cnn_kernel(weights, masks, x1, x2)

    def unpruned_limit(self, x1: Array, x2: Array) -> float:
        """``Theta_inf(x1, x2)``, by neural-tangents."""
        network = infinite_width.CNN(channels=(self.width,) * self.depth)
        return float(infinite_width.kernels(network, x1[None], x2[None]).ntk[0, 0])


Network = FullyConnected | Convolutional
Layers = Sequence[Array]  # W^h o m^h, [d_h, d_{h-1}]
Masks = Sequence[Array | None]  # bool, of the weights' shapes; None keeps the whole layer


def _chain(inputs: int, width: int, depth: int, patch: int) -> tuple[tuple[int, int], ...]:
    fan_ins = [patch * inputs, *[patch * width] * (depth - 1), width]
    return tuple(zip([width] * depth + [1], fan_ins, strict=True))


def rescaling(network: Network) -> float:
    """``alpha^{-L}``: the kernel with weights divided by ``sqrt(alpha)`` over the one without.

    >>> rescaling(FullyConnected(8, depth=3, density=0.5, prune_input=True))
    16.0
    """
    return network.density ** -(network.depth + network.prune_input)


def limit(network: Network, x1: Array, x2: Array) -> float:
    """``alpha^L Theta_inf(x1, x2)``; with rescaled weights it is ``network.unpruned_limit``."""
    return network.unpruned_limit(x1, x2) / rescaling(network)


def draw(key: Key, network: Network, input_shape: tuple[int, ...]) -> tuple[Layers, Masks]:
    """One random network: its pruned weights ``W^h o m^h`` and its masks ``m^h``."""
    layers, masks = [], []
    for h, shape in enumerate(network.layer_shapes(input_shape)):
        density = 1.0 if h == 0 and not network.prune_input else network.density
        weights, mask = pruned_weights(jax.random.fold_in(key, h), shape, density)
        layers.append(weights)
        masks.append(mask)
    return layers, masks


def pruned_weights(key: Key, shape: tuple[int, int], density: float) -> tuple[Array, Array | None]:
    """``W o m`` float32 and ``m`` bool, with ``W ~ N(0, 1)`` and ``m ~ Bernoulli(density)``.

    One uniform ``u`` per weight decides both: it is kept where ``u < density``, and then
    ``u / density`` is uniform again and becomes the normal value. The mask of density 1 is None.
    """
    # jax.random.bits would throw away half of what the generator returns, and it is the bottleneck
    counter = jax.lax.iota(jnp.uint32, math.prod(shape))
    bits = threefry_2x32(jax.random.key_data(key), counter).reshape(shape)
    bits = jax.lax.optimization_barrier(bits)  # else it is computed once per output
    level = round(density * 2**32)
    symmetric = bits.astype(jnp.float32) * (2 / level) - 1
    tail = 1 - 2.0**-24
    normal = math.sqrt(2) * jax.lax.erf_inv(jnp.clip(symmetric, -tail, tail))
    if density == 1:
        return normal, None
    mask = bits < np.uint32(level)
    return jnp.where(mask, normal, 0), mask


def fc_kernel(weights: Layers, masks: Masks, x1: Array, x2: Array) -> Array:
    """NTK between ``x1 [d]`` and ``x2 [d]`` with respect to the kept weights, a scalar.

    With ``b^h = df / df^h`` at the two inputs, layer ``h`` contributes

        sum_ij m_ij (b_i b'_i) (g_j g'_j),

    which takes ``O(d_h d_{h-1})``, without any Jacobian.
    """
    g = jnp.stack([x1, x2])
    slopes, products = [], []
    for w, mask in zip(weights, masks, strict=True):
        products.append(_masked_sum(mask, g[0] * g[1]))
        f = g @ w.T
        slopes.append(math.sqrt(2 / len(w)) * (f > 0))
        g = slopes[-1] * f
    b = jnp.ones_like(g)
    kernel = jnp.sum(products[-1])
    for h in reversed(range(len(weights) - 1)):
        b = slopes[h] * (b @ weights[h + 1])
        kernel += jnp.sum(b[0] * b[1] * products[h])
    return kernel


def _masked_sum(mask: Array | None, values: Array) -> Array:
    """``sum_j m_ij v_j``: ``[d_h]``, or ``[1]`` where nothing is masked."""
    if mask is None:
        return jnp.sum(values, keepdims=True)
    return mask.astype(values.dtype) @ values


def cnn_kernel(weights: Layers, masks: Masks, x1: Array, x2: Array) -> Array:
    """NTK between images ``x1 [H, W, C]`` and ``x2`` with respect to the kept weights, a scalar.

    ``weights[h]`` is ``[channels, 9 * channels before]``, the last one ``[1, channels]``.
    """
    gradient = jax.grad(_cnn)
    triples = zip(masks, gradient(weights, x1), gradient(weights, x2), strict=True)
    layers = [jnp.sum(a * b, where=True if mask is None else mask) for mask, a, b in triples]
    return jnp.sum(jnp.stack(layers))


def _cnn(weights: Layers, x: Array) -> Array:
    # a product with patches, because a convolution mapped over networks is slow on CPUs
    *kernels, readout = weights
    for w in kernels:
        f = _patches(x) @ w.T
        x = jax.nn.relu(math.sqrt(2 / w.shape[1]) * f)
    return math.sqrt(2 / readout.shape[1]) * jnp.vdot(readout[0], x.mean((0, 1)))


def _patches(x: Array) -> Array:
    """The zero-padded 3x3 neighbourhoods of ``x [H, W, C]``: ``[H, W, 9 C]``."""
    height, width, _ = x.shape
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    shifts = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifts, axis=-1)


def sample(
    key: Key,
    network: Network,
    x1: Array,
    x2: Array,
    num_networks: int,
    memory_budget: int = 2**23,
) -> np.ndarray:
    """The NTK ``[num_networks]`` between ``x1`` and ``x2`` of independent draws of ``network``.

    As many networks are drawn at once as fit into ``memory_budget`` bytes, at least one; the
    default is about a cache, which is twice as fast as main memory. The draws do not depend on it:
    network ``i`` has the key ``fold_in(key, i)``.

    Raises:
        ValueError: the inputs differ in shape, or there is no network to draw.
    """
    if jnp.shape(x1) != jnp.shape(x2):
        raise ValueError(f"x1 and x2 differ in shape: {jnp.shape(x1)} and {jnp.shape(x2)}")
    if num_networks < 1:
        raise ValueError(f"num_networks must be at least 1, got {num_networks}")
    num_weights = sum(math.prod(shape) for shape in network.layer_shapes(x1.shape))
    bytes_per_network = 16 * num_weights  # bits, weights, mask, and a temporary of their size
    indices = _chunks(num_networks, max(1, memory_budget // bytes_per_network))
    return np.concatenate([_kernels(key, network, x1, x2, i) for i in indices])[:num_networks]


def _chunks(total: int, largest: int) -> Iterator[np.ndarray]:
    """``0, 1, ...`` in pieces of one size, at most ``largest``, that cover ``range(total)``."""
    number = -(-total // largest)
    size = -(-total // number)
    return (np.arange(i * size, (i + 1) * size) for i in range(number))


@functools.partial(jax.jit, static_argnames="network")
def _kernels(key: Key, network: Network, x1: Array, x2: Array, indices: Array) -> Array:
    def one(i: Array) -> Array:
        layers, masks = draw(jax.random.fold_in(key, i), network, x1.shape)
        return network.kernel(layers, masks, x1, x2)

    if len(indices) == 1:  # four times faster than a vmap over one, and what large networks need
        return one(indices[0])[None]
    return jax.vmap(one)(indices)
