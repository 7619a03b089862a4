"""What is differentiated, layer by layer, and how much of everything there is.

For a layer ``y_s = a_s W`` at positions ``s`` (the pixels of a convolution, whose inputs are
patches) the Jacobian of output ``m`` is ``J[m] = sum_s a_s^T dy_s[m]``. Its share of the kernel is
taken in the cheaper of two ways, by counted products per pair of examples:

* ``<J_i[m], J_j[n]>`` over the ``P`` surviving coordinates: ``M^2 P``,
* ``sum_st <a_is, a_jt> <dy_is[m], dy_jt[n]>``, which forms no Jacobian: ``S^2 (F + M^2 (O + 1))``.

The second one wins for linear layers and for late convolutions with few positions (Novak et al.,
arXiv 2206.08720, where it is the NTK-vector and structured-derivative part).
"""

import functools
import math
from typing import NamedTuple

import jax
import numpy as np

from ntk_prune.coordinates import chosen
from ntk_prune.ntk.backends.backward import backward, tap_layers
from ntk_prune.ntk.functions import Function, call, cotangents
from ntk_prune.ntk.jacobian import kept_indices
from ntk_prune.ntk.layer_io import Layer
from ntk_prune.ntk.problem import KernelProblem


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


class Sizes(NamedTuple):
    """Sizes and counted operations of one example, read off the traced program."""

    layers: tuple[Layer, ...]
    inputs: tuple[tuple[int, ...], ...]  # shapes of the layer inputs
    gradients: tuple[tuple[int, ...], ...]  # shapes of their output gradients
    num_cotangents: int  # m: gradients taken of an example
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
    sizes: Sizes
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


def make_plan(problem: KernelProblem, *, tapped: bool) -> Plan:
    """Trace ``f`` on one example and decide, layer by layer, how the kernel is contracted.

    The second inputs do not change it. ``tapped``: use the inputs and output gradients of layers,
    not the Jacobians of their weights.
    """
    f, params, mask, outputs = problem.f, problem.params, problem.mask, problem.convention
    flags = chosen(params, problem.wrt)
    variables, structure = jax.tree.flatten((params, problem.state, problem.example))
    shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in variables)
    sizes = _sizes(f, flags, outputs, tapped, structure, shapes)
    kept = dict(zip(np.flatnonzero(flags).tolist(), kept_indices(flags, mask), strict=True))
    leaves = jax.tree.leaves(mask) if mask is not None else None
    layers = [
        _layer_plan(layer, inputs, gradients, leaves, outputs == "trace")
        for layer, inputs, gradients in zip(
            sizes.layers, sizes.inputs, sizes.gradients, strict=True
        )
    ]
    tapped_leaves = {layer.leaf for layer in sizes.layers}
    leaf_sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    others = [(leaf_sizes[i], kept[i]) for i in kept if i not in tapped_leaves]
    return Plan(f, flags, outputs, tapped, sizes, tuple(layers), tuple(others))


@functools.lru_cache(maxsize=64)
def _sizes(f: Function, flags, outputs: str, tapped: bool, structure, shapes) -> Sizes:
    """Read sizes off the traced program of one example; nothing is computed."""
    params, state, example = structure.unflatten(shapes)
    logits = jax.eval_shape(functools.partial(call, f), params, state, example)
    stage = functools.partial(backward, f, flags, outputs, tapped)
    inputs, gradients, others = jax.eval_shape(stage, params, state, example)
    leaves, inner = jax.tree.flatten(params)
    layers = tap_layers(f, flags, inner, leaves, state, example).layers if tapped else ()
    forward = jax.jit(functools.partial(call, f)).trace(params, state, example)
    activations = [v.aval.size for e in forward.jaxpr.eqns for v in e.outvars]
    return Sizes(
        layers,
        tuple(a.shape for a in inputs),
        tuple(a.shape for a in gradients),
        cotangents(outputs, logits.shape[1], logits.dtype).shape[0],
        logits.shape[1],
        float((forward.lower().cost_analysis() or {}).get("flops", 0.0)),
        sum(a.size for a in (*inputs, *gradients, *others)),
        max(activations, default=logits.size),
    )


def _layer_plan(layer: Layer, inputs_shape, gradients_shape, mask_leaves, trace: bool) -> LayerPlan:
    """Sizes from inputs ``[1, S, F]`` or ``[1, space..., I]`` and gradients ``[1, m, S, O]``."""
    _, m, positions, outputs = gradients_shape
    inputs = inputs_shape[-1] * (math.prod(layer.window.shape) if layer.window else 1)
    kept = None
    if mask_leaves is not None:
        view = np.asarray(mask_leaves[layer.leaf]).transpose(layer.weight_order)
        kept = None if view.all() else np.flatnonzero(view.reshape(inputs, outputs).T)
    pairs = m if trace else m * m
    joint = positions**2 * (inputs + pairs * outputs + (1 if trace else pairs))
    factored = kept is None and joint < pairs * inputs * outputs
    return LayerPlan(layer, positions, inputs, outputs, kept, joint, factored)
