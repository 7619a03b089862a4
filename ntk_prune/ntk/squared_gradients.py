"""Sums over examples of squared gradients, weight by weight: a diagonal of ``J^T J``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.coordinates import Wrt
from ntk_prune.ntk.backends.backward import backward, layer_inputs
from ntk_prune.ntk.backends.plan import make_plan
from ntk_prune.ntk.empirical import estimate_cost
from ntk_prune.ntk.functions import Function, masked
from ntk_prune.ntk.layer_io import Layer
from ntk_prune.ntk.problem import KernelProblem
from ntk_prune.types import Array, Mask, Params, State


def squared_gradients(
    f: Function,
    params: Params,
    x: Array,
    classes: Array,
    *,
    state: State = None,
    mask: Mask | None = None,
    wrt: Wrt = "prunable",
    chunk: int | None = None,
) -> Params:
    """``sum_i (d f_{c_i}(x_i) / d theta)^2``, a tree like ``params``.

    The sum of all its entries is ``sum_i K[i, i, c_i, c_i]`` of the empirical kernel. One
    backward pass of a chunk of examples gives all of it: no gradient of an example is kept.

    Args:
        f: ``f(params, x [B, ...]) -> [B, C]``, or a ``Model`` under the running statistics in
            ``state``.
        params: The parameters; where ``mask`` is given the network is ``f(params * mask)``.
        x: Inputs ``[n, ...]``.
        classes: The output ``c_i`` of each input, ``[n]``.
        state: The state of a ``Model``.
        mask: Which coordinates survive; the others have zero.
        wrt: ``"all"`` parameters or only the ``"prunable"`` ones; the others have zero.
        chunk: Examples differentiated at a time; default from the memory estimate.

    >>> w = {"kernel": jnp.array([[1.0, -1.0], [2.0, 0.5]])}
    >>> x = jnp.array([[3.0, 4.0], [1.0, 0.0]])
    >>> squared_gradients(lambda p, x: x @ p["kernel"], w, x, jnp.array([1, 0]))["kernel"].tolist()
    [[1.0, 9.0], [0.0, 16.0]]
    """
    params = masked(params, mask)
    problem = KernelProblem(f, params, x, state=state, outputs="class:0", wrt=wrt)
    f, plan = problem.f, make_plan(problem, tapped=True)
    sizes = plan.sizes
    if chunk is None:
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (x, x[:1]))
        chunk = estimate_cost(f, params, *shapes, state=state, outputs="class:0", wrt=wrt).chunk
    missing = -len(x) % chunk
    x = jnp.concatenate([x, jnp.repeat(x[-1:], missing, axis=0)])
    nothing = np.full(missing, -1)  # the unit vector of class -1 is zero
    units = jax.nn.one_hot(jnp.concatenate([classes, nothing]), sizes.num_outputs)
    total = jax.tree.map(jnp.zeros_like, params)
    for start in range(0, len(x), chunk):
        part = slice(start, start + chunk)
        total = _add(total, f, plan.flags, sizes.layers, params, state, x[part], units[part])
    return total if mask is None else masks.apply(total, mask)


@functools.partial(jax.jit, static_argnames=("f", "flags", "layers"))
def _add(total: Params, f: Function, flags, layers: tuple[Layer, ...], params, state, x, units):
    """``total`` and the squares of the gradients of ``<units, f(x)>``."""
    inputs, gradients, others = backward(f, flags, "sum", True, params, state, x, units)
    leaves, structure = jax.tree.flatten(total)
    tapped = {layer.leaf for layer in layers}
    rest = [i for i, flag in enumerate(flags) if flag and i not in tapped]
    for i, jacobian in zip(rest, others, strict=True):
        leaves[i] += jnp.square(jacobian).sum((0, 1))
    for layer, a, dy in zip(layers, inputs, gradients, strict=True):
        squares = _layer_squares(layer_inputs(layer.window, a), dy[:, 0])
        shape = [leaves[layer.leaf].shape[axis] for axis in layer.weight_order]
        leaves[layer.leaf] += squares.reshape(shape).transpose(np.argsort(layer.weight_order))
    return structure.unflatten(leaves)


def _layer_squares(a: Array, dy: Array) -> Array:
    """``sum_b (sum_s a[b,s,f] dy[b,s,o])^2`` as ``[F, O]``; one product where there is one s."""
    if a.shape[1] == 1:
        return jnp.square(a[:, 0]).T @ jnp.square(dy[:, 0])

    # Example by example: [b, F, O] at once is ten times slower on a CPU, bound by its memory.
    def add(total, example):
        a, dy = example
        return total + jnp.square(a.T @ dy), None

    total = jnp.zeros((a.shape[-1], dy.shape[-1]), jnp.result_type(a, dy))
    return jax.lax.scan(add, total, (a, dy))[0]
