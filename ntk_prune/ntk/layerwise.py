"""Layer-wise features of the kernel: input rows times output gradients, never a weight gradient.

For a layer ``y_s = a_s W`` at positions ``s`` (the pixels of a convolution, whose rows are patches)
the Jacobian of output ``m`` is ``J[m] = sum_s a_s^T dy_s[m]``. Its share of the kernel is taken in
the cheaper of two ways, by counted products per pair of examples:

* ``<J_i[m], J_j[n]>`` over the ``P`` surviving coordinates: ``M^2 P``,
* ``sum_st <a_is, a_jt> <dy_is[m], dy_jt[n]>``, which forms no Jacobian: ``S^2 (F + M^2 (O + 1))``.

The second one wins for linear layers and for late convolutions with few positions (Novak et al.,
arXiv 2206.08720, where it is the NTK-vector and structured-derivative part).
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.conv_patches import Window, patches
from ntk_prune.coordinates import chosen
from ntk_prune.ntk.jacobian import Function, call, compact, cotangents, kept_indices, split
from ntk_prune.ntk.layer_io import Layer, tap
from ntk_prune.types import Array, Mask, Params, State


class LayerPlan(NamedTuple):
    """How one tapped layer enters: sizes, surviving positions of ``[O, F]``, and which way."""

    layer: Layer
    positions: int
    inputs: int
    outputs: int
    kept: np.ndarray | None
    joint_products: int  # multiply-adds a pair of examples without forming Jacobians
    factored: bool

    @property
    def num_kept(self) -> int:
        """Surviving coordinates."""
        return self.inputs * self.outputs if self.kept is None else self.kept.size


class Trace(NamedTuple):
    """What one example's trace tells: sizes and counted operations, per example."""

    layers: tuple[Layer, ...]
    rows: tuple[tuple[int, ...], ...]  # shapes of the layer inputs
    gradients: tuple[tuple[int, ...], ...]  # shapes of their output gradients
    num_rows: int  # m: rows of the Jacobian an example
    num_outputs: int
    forward_flops: float
    backward_elements: int  # of everything that the backward stage returns
    widest: int  # elements of the largest activation


class Plan(NamedTuple):
    """What is differentiated and how: made once for a network, a mask and a convention."""

    f: Function
    flags: tuple[bool, ...]
    outputs: str
    tapped: bool
    trace: Trace
    layers: tuple[LayerPlan, ...]
    others: tuple[tuple[int, np.ndarray | None], ...]  # untapped leaves: size, kept positions

    @property
    def num_kept(self) -> int:
        """Coordinates in which the kernel is taken."""
        return sum(layer.num_kept for layer in self.layers) + self.num_untapped

    @property
    def num_untapped(self) -> int:
        """Those of them outside the tapped layers."""
        return sum(size if kept is None else kept.size for size, kept in self.others)


class Features(NamedTuple):
    """Everything the kernel needs of a chunk of ``c`` examples.

    ``jacobians``: arrays ``[c, m, p]``; ``factors``: pairs of rows ``[c, S, F]`` and output
    gradients ``[c, m, S, O]``.
    """

    jacobians: list[Array]
    factors: list[tuple[Array, Array]]


def make_plan(
    f: Function, params: Params, state: State, mask: Mask | None, x: Array, outputs: str, wrt: str,
    *, tapped: bool,
) -> Plan:  # fmt: skip
    """Trace ``f`` on one example and decide, layer by layer, how the kernel is contracted."""
    flags = chosen(params, wrt)
    variables, structure = jax.tree.flatten((params, state))
    shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in variables)
    one = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
    trace = _trace(f, flags, outputs, tapped, structure, shapes, one)
    kept = dict(zip(np.flatnonzero(flags).tolist(), kept_indices(flags, mask), strict=True))
    leaves = jax.tree.leaves(mask) if mask is not None else None
    layers = [
        _layer_plan(layer, rows, gradients, leaves, outputs == "trace")
        for layer, rows, gradients in zip(trace.layers, trace.rows, trace.gradients, strict=True)
    ]
    tapped_leaves = {layer.leaf for layer in trace.layers}
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    others = [(sizes[i], kept[i]) for i in kept if i not in tapped_leaves]
    return Plan(f, flags, outputs, tapped, trace, tuple(layers), tuple(others))


@functools.lru_cache(maxsize=64)
def _trace(f: Function, flags, outputs: str, tapped: bool, structure, shapes, one) -> Trace:
    """Read sizes off the trace of one example; nothing is computed.

    Raises ValueError when ``f`` does not return ``[B, C]``.
    """
    params, state = structure.unflatten(shapes)
    logits = jax.eval_shape(functools.partial(call, f), params, state, one)
    if logits.ndim != 2:
        raise ValueError(f"f must return [B, C] for x [B, ...], got {logits.shape} for B = 1")
    stage = functools.partial(backward, f, flags, outputs, tapped)
    rows, gradients, others = jax.eval_shape(stage, params, state, one)
    leaves, inner = jax.tree.flatten(params)
    layers = _tap(f, flags, inner, leaves, state, one).layers if tapped else ()
    forward = jax.jit(functools.partial(call, f)).trace(params, state, one)
    activations = [v.aval.size for e in forward.jaxpr.eqns for v in e.outvars]
    return Trace(
        layers,
        tuple(a.shape for a in rows),
        tuple(a.shape for a in gradients),
        cotangents(outputs, logits.shape[1], logits.dtype).shape[0],
        logits.shape[1],
        float((forward.lower().cost_analysis() or {}).get("flops", 0.0)),
        sum(a.size for a in (*rows, *gradients, *others)),
        max(activations, default=logits.size),
    )


def _tap(f: Function, flags, structure, leaves, state: State, x):
    def function(leaves, rest):
        return call(f, structure.unflatten(leaves), *rest)

    return tap(function, leaves, (state, x), flags)


def _layer_plan(layer: Layer, rows, grads, mask_leaves, trace: bool) -> LayerPlan:
    """Sizes from ``rows [1, S, F]`` or ``[1, space..., I]`` and ``grads [1, m, S, O]``."""
    _, m, positions, outputs = grads
    inputs = rows[-1] * (math.prod(layer.window.shape) if layer.window else 1)
    kept = None
    if mask_leaves is not None:
        view = np.asarray(mask_leaves[layer.leaf]).transpose(layer.weight_order)
        kept = None if view.all() else np.flatnonzero(view.reshape(inputs, outputs).T)
    pairs = m if trace else m * m
    joint = positions**2 * (inputs + pairs * outputs + (1 if trace else pairs))
    factored = kept is None and joint < pairs * inputs * outputs
    return LayerPlan(layer, positions, inputs, outputs, kept, joint, factored)


@functools.partial(jax.jit, static_argnames=("f", "flags", "outputs", "tapped"))
def backward(
    f: Function,
    flags,
    outputs: str,
    tapped: bool,
    params: Params,
    state: State,
    x: Array,
    rows: Array | None = None,
):
    """One forward and ``m`` backward passes of each example.

    With ``rows [B, C]`` the ``m = 1`` pass of an example is that of ``<row, logits>``, and
    ``outputs`` does not matter.

    Returns:
        Layer inputs ``[B, S, F]`` or ``[B, space..., channels]``, output gradients
        ``[B, m, S, O]``, and the Jacobians ``[B, m, *leaf]`` of the other chosen leaves.
    """
    leaves, structure = jax.tree.flatten(params)
    wanted = flags if tapped else (False,) * len(flags)

    def one(xi: Array, row: Array | None):
        taps = _tap(f, wanted, structure, leaves, state, xi[None])
        done = {layer.leaf for layer in taps.layers}
        rest = tuple(flag and i not in done for i, flag in enumerate(flags))
        theta, merge = split(rest, leaves)

        def run(theta, zeros):
            (logits,), inputs = taps([*merge(theta), *jax.tree.leaves((state, xi[None]))], zeros)
            return logits[0], taps.rows(inputs)

        logits, vjp, inputs = jax.vjp(run, theta, taps.zeros(), has_aux=True)

        def pull(cotangent):
            others, grads = vjp(cotangent)
            return taps.gradients(grads), others

        from_outputs = cotangents(outputs, logits.size, logits.dtype)
        return inputs, *jax.vmap(pull)(from_outputs if row is None else row[None])

    return jax.vmap(one)(x, rows)


def features(plan: Plan, params: Params, state: State, x: Array) -> Features:
    """The features of a chunk ``x [c, ...]``; ``params`` are masked already."""
    rows, grads, others = backward(plan.f, plan.flags, plan.outputs, plan.tapped, params, state, x)
    jacobians, factors = [], []
    for layer in plan.layers:
        a, dy = rows.pop(0), grads.pop(0)  # popped, so that each is freed when it has been used
        if layer.factored:
            factors.append((input_rows(layer.layer.window, a), dy))
        else:
            jacobians.append(_weight_jacobian(layer.layer.window, a, dy, layer.kept))
    small = [compact(j, kept) for j, (_, kept) in zip(others, plan.others, strict=True)]
    if any(layer.kept is not None for layer in plan.layers):
        small, jacobians = small + jacobians, []  # compacted parts make one product
    if small:
        jacobians.append(jnp.concatenate(small, axis=-1))
    return Features(jacobians, factors)


@functools.partial(jax.jit, static_argnames="window")
def input_rows(window: Window | None, a: Array) -> Array:
    """Rows ``[c, S, F]`` of a layer: its inputs, or the patches a convolution looks at."""
    if window is None:
        return a
    return patches(window, a).reshape(a.shape[0], -1, math.prod(window.shape) * a.shape[-1])


@functools.partial(jax.jit, static_argnames="window")
def _weight_jacobian(window: Window | None, a: Array, dy: Array, kept: Array | None) -> Array:
    """``J[c, m, (o, f)] = sum_s dy[c, m, s, o] a[c, s, f]``, only the ``kept`` coordinates."""
    full = jnp.einsum("cmso,csf->cmof", dy, input_rows(window, a))
    full = full.reshape(*full.shape[:2], -1)
    return full if kept is None else jnp.take(full, kept, axis=-1)


@functools.partial(jax.jit, static_argnames=("trace", "dtype"))
def product(left: Features, right: Features, *, trace: bool, dtype) -> Array:
    """A block of the kernel in ``dtype``: ``[c, m, d, m]``, or ``[c, d]`` summed over outputs."""
    left, right = (jax.tree.map(lambda a: a.astype(dtype), side) for side in (left, right))
    contract = _gram_traced if trace else _gram
    terms = [contract(a, b) for a, b in zip(left.jacobians, right.jacobians, strict=True)]
    for (a, dy), (b, dz) in zip(left.factors, right.factors, strict=True):
        inputs = jnp.einsum("csf,dtf->csdt", a, b)
        if trace:
            terms.append(jnp.sum(inputs * jnp.einsum("cmso,dmto->csdt", dy, dz), axis=(1, 3)))
        else:
            gradients = jnp.einsum("cmso,dnto->cmsdnt", dy, dz)
            terms.append(jnp.einsum("csdt,cmsdnt->cmdn", inputs, gradients))
    return sum(terms[1:], start=terms[0])


def _gram(a: Array, b: Array) -> Array:
    """``[c, m, p], [d, n, p] -> [c, m, d, n]``, as one matrix product: no transposed copies."""
    matrix = a.reshape(-1, a.shape[-1]) @ b.reshape(-1, b.shape[-1]).T
    return matrix.reshape(*a.shape[:2], *b.shape[:2])


def _gram_traced(a: Array, b: Array) -> Array:
    """``[c, m, p], [d, m, p] -> [c, d]``."""
    return a.reshape(a.shape[0], -1) @ b.reshape(b.shape[0], -1).T
