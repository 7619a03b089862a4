r"""The paths of a piecewise-linear network: record which are active, replay them, open them all.

At an input ``x`` such a network is a sum over paths ``p`` from input ``i(p)`` to output ``k(p)``,

    f_k(x) = sum_{p -> k} a_p(x) v_p x_{i(p)},    v_p = product of the weights on p,

where ``a_p`` is 1 if every ReLU on the path is open and every max pool picks it. An ``Activation``
is the argument of a model that decides what its nonlinearities do:

    PLAIN         the network itself
    Record()      the network itself; ``gates`` holds what was open
    Replay(gates) the linear map that the recorded gates leave
    Open()        the linear map of all paths: ReLUs pass, a max pool is the sum over its window

The batch norms of the last two are without shift, and their slopes are transformed by ``slope``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.types import Array

Slope = Callable[[Any], Any]


def _pool(x: Array, start: float, reduce: Callable, window: int, stride: int, padding: int):
    margin = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    sizes, strides = (1, window, window, 1), (1, stride, stride, 1)
    # a constant of numpy: jax recognises max and sum, which have derivatives, by a concrete start
    return jax.lax.reduce_window(x, np.asarray(start, x.dtype), reduce, sizes, strides, margin)


class Plain:
    """The network as it is."""

    def relu(self, x: Array) -> Array:
        """``max(x, 0)``, with derivative 0 at 0."""
        return jax.nn.relu(x)

    def max_pool(self, x: Array, window: int, stride: int, padding: int = 0) -> Array:
        """The largest of each window; padding never wins."""
        return _pool(x, -jnp.inf, jax.lax.max, window, stride, padding)

    def affine(self, x: Array, mean: Any, slope: Any, bias: Any) -> Array:
        """``(x - mean) * slope + bias``, as one product and one sum over ``x``."""
        return x * slope + (bias - mean * slope)


PLAIN = Plain()


class Record(Plain):
    """The network as it is; ``gates`` lists, in the order of the computation, the open ReLUs
    (bool) and the inputs of max pools, from which the winners follow."""

    def __init__(self):
        self.gates: list[Array] = []

    def relu(self, x: Array) -> Array:
        self.gates.append(x > 0)
        return super().relu(x)

    def max_pool(self, x: Array, window: int, stride: int, padding: int = 0) -> Array:
        self.gates.append(x)
        return super().max_pool(x, window, stride, padding)


class Open:
    """All paths: ReLUs are the identity, a max pool is the sum over its window."""

    def __init__(self, slope: Slope = jnp.square):
        self.slope = slope

    def relu(self, x: Array) -> Array:
        return x

    def max_pool(self, x: Array, window: int, stride: int, padding: int = 0) -> Array:
        return _pool(x, 0.0, jax.lax.add, window, stride, padding)

    def affine(self, x: Array, mean: Any, slope: Any, bias: Any) -> Array:
        """``x * slope(slope)``: neither mean nor shift, which no weight of a path multiplies."""
        del mean, bias
        return x * self.slope(slope)


class Replay(Open):
    """The paths that ``gates`` leave open: linear in the input and in each layer's weights."""

    def __init__(self, gates: Sequence[Array], slope: Slope = jnp.ones_like):
        super().__init__(slope)
        self._gates = iter(gates)

    def relu(self, x: Array) -> Array:
        return x * next(self._gates).astype(x.dtype)

    def max_pool(self, x: Array, window: int, stride: int, padding: int = 0) -> Array:
        """Each window's entry where the recorded input was largest: the derivative of the pool."""

        def pool(recorded: Array) -> Array:
            return PLAIN.max_pool(recorded, window, stride, padding)

        recorded = next(self._gates).astype(x.dtype)
        return jax.jvp(pool, (recorded,), (x,))[1]
