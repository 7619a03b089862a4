r"""The two factors of the path kernel (Gebhart et al., arXiv 2101.10552), summed over all paths.

A piecewise-linear network is ``f = J_v^f v``, a sum over paths ``p`` of path values ``v_p``, its
kernel is ``(J_v^f J_theta^v) (J_v^f J_theta^v)^T``, and two linear networks have the squares:

    z1[b,k] = |J_v^{f_k}(x_b)|^2 = sum_{p -> k} a_p(x_b) x_{b,i(p)}^2    kernels 1, input x * x
    z2[k]   = |v_{-> k}|^2       = sum_{p -> k} v_p^2                    kernels theta^2, input 1

with the mask on the kernels of both and biases dropped. A fixed factor on a path that is no kernel,
such as the 1/S of a mean over S positions, stands in both by its square root.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.activations import Open, Record, Replay, Slope
from ntk_prune.compiling import jit_once
from ntk_prune.types import Array, Mask, Model, Params, State


def activation_factor(model: Model, params: Params, state: State, mask: Mask, x: Array) -> Array:
    """``sum_b z1[b]`` of ``x [B, ...]``, shape ``[1, ..., C]``, in float64 where jax has it.

    The gates are those of the masked network in its own type under running statistics.
    """
    record = Record()
    model.apply(masks.apply(params, mask), state, x, train=False, activation=record)
    ones, state, x = wide((_unbiased(params, mask), state, x))
    replay = Replay(record.gates)
    z1, _ = model.apply(ones, state, jnp.square(x), train=False, activation=replay)
    return z1.sum(0, keepdims=True)


def path_gradient(
    model: Model,
    params: Params,
    state: State,
    mask: Mask,
    ones: Array,
    weight: Array | float = 1.0,
    slope: Slope = jnp.square,
) -> Params:
    """``dR/d(theta^2)`` of ``R = sum(weight * z2)`` at kept weights, zero everywhere else.

    Times ``theta^2`` it is the share of ``R`` whose paths use theta.

    Args:
        model: A piecewise-linear network.
        params: Its parameters.
        state: Its state.
        mask: Its mask.
        ones: One example of ones, ``[1, ...]``.
        weight: A number per output, of the shape ``[1, ..., C]`` of ``z2``.
        slope: What becomes of batch norm's slopes in ``z2``.
    """

    def total(squares: Params) -> Array:
        weights = _unbiased(params, squares)
        z2, _ = model.apply(weights, state, ones, train=False, activation=Open(slope))
        return jnp.sum(weight * z2)

    gradient = jax.grad(total)(jax.tree.map(jnp.square, masks.apply(params, mask)))
    return masks.apply(gradient, mask)


def check_linear(model: Model, params: Params, state: State, x: Array) -> None:
    """Raise ValueError unless the network of all paths is linear, ``f(-2 x) = -2 f(x)``.

    It is where ``apply`` leaves all that is not linear to its ``activation``; where it does not,
    sums over paths mean nothing. ``x [B, ...]``, ``params`` and ``state`` give shapes.
    """
    params, state = _ones((params, state))
    x = jax.random.normal(jax.random.key(0), (1, *x.shape[1:]))
    with jax.enable_x64(True):
        y, image = np.asarray(_opened(model, params, state, jnp.concatenate([x, -2 * x])))
    if not np.allclose(image, -2 * y, rtol=1e-6, atol=1e-6 * np.abs(y).max()):
        raise ValueError(
            "the network has no paths to follow: with all of them open it is not linear in its "
            "input; its `apply` must leave every nonlinearity to its argument `activation`"
        )


@functools.partial(jit_once, static_argnames="model")
def _opened(model: Model, params: Params, state: State, x: Array) -> Array:
    params, state, x = wide((_unbiased(params, params), state, x))
    return model.apply(params, state, x, train=False, activation=Open(jnp.ones_like))[0]


def connected(model: Model, params: Params, state: State, mask: Mask, x: Array) -> Mask:
    """The kept weights on a path from an input to an output; True where not prunable.

    Their share of the prunable weights is the effective density (Vysogorets and Kempe, arXiv
    2107.02306). The others pass nothing of the input on, at most a bias. ``x [B, ...]``, ``params``
    and ``state`` give shapes. ValueError for a model that takes no ``activation``.
    """
    check_linear(model, params, state, x)
    params, state, x = _ones((params, state, x))
    with jax.enable_x64(True):
        return _connected(model, params, state, mask, x)


@functools.partial(jit_once, static_argnames="model")
def _connected(model: Model, params: Params, state: State, mask: Mask, x: Array) -> Mask:
    """A number of paths, each layer divided by the root of its fan-in: as far from an overflow
    where all weights are kept as from an underflow where single ones are."""

    def unit(path, leaf: Array) -> Array:
        is_kernel = masks.is_kernel(masks.path_of(path))
        return jnp.full_like(leaf, math.prod(leaf.shape[:-1]) ** -0.25 if is_kernel else 1.0)

    units, state, ones = wide((params, state, jnp.ones_like(x[:1])))
    units = jax.tree_util.tree_map_with_path(unit, units)
    counts = path_gradient(model, units, state, mask, ones, slope=jnp.ones_like)

    def on_path(path, count: Array, kept: Array) -> Array:
        return count > 0 if masks.is_kernel(masks.path_of(path)) else kept

    return jax.tree_util.tree_map_with_path(on_path, counts, mask)


def _ones(shapes: Params) -> Params:
    """Arrays of ones of these shapes and types."""
    return jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), shapes)


def wide(tree: Params) -> Params:
    """``tree`` in float64 where jax has it: ``z1`` grows like fan-in to the power of the depth."""
    return jax.tree.map(lambda leaf: leaf.astype(float), tree)


def _unbiased(params: Params, kernels: Params) -> Params:
    """``params`` with their prunable leaves replaced by ``kernels`` and without biases."""

    def leaf(path, param: Array, kernel: Array) -> Array:
        name = masks.path_of(path)
        if masks.is_kernel(name):
            return kernel
        return jnp.zeros_like(param) if name[-1] == "bias" else param

    return jax.tree_util.tree_map_with_path(leaf, params, kernels)
