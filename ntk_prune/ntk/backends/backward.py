"""Inputs and output gradients of every layer, example by example."""

import functools
import math

import jax

from ntk_prune.conv_patches import Window, patches
from ntk_prune.ntk import inputs
from ntk_prune.ntk.functions import Function, call, cotangents, split
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.ntk.layer_io import Tapped, tap
from ntk_prune.types import Array, Params, State


def tap_layers(f: Function, flags, structure, leaves, state: State, x: Inputs) -> Tapped:
    """``f`` with taps at the layers of the flagged leaves, of parameters given as a list."""

    def function(leaves, rest):
        return call(f, structure.unflatten(leaves), *rest)

    return tap(function, leaves, (state, x), flags)


@functools.partial(jax.jit, static_argnames=("f", "flags", "outputs", "tapped"))
def backward(
    f: Function,
    flags,
    outputs: str,
    tapped: bool,
    params: Params,
    state: State,
    x: Inputs,
    combinations: Array | None = None,
):
    """One forward and ``m`` backward passes of each example.

    With ``combinations [B, C]`` an example has the one pass of ``<combination, logits>``, m = 1,
    and ``outputs`` does not matter.

    Returns:
        Layer inputs ``[B, S, F]`` or ``[B, space..., channels]``, output gradients
        ``[B, m, S, O]``, and the Jacobians ``[B, m, *leaf]`` of the other chosen leaves.
    """
    leaves, structure = jax.tree.flatten(params)
    wanted = flags if tapped else (False,) * len(flags)

    def one(xi: Inputs, combination: Array | None):
        example = inputs.alone(xi)
        taps = tap_layers(f, wanted, structure, leaves, state, example)
        done = {layer.leaf for layer in taps.layers}
        rest = tuple(flag and i not in done for i, flag in enumerate(flags))
        theta, merge = split(rest, leaves)

        def run(theta, zeros):
            (logits,), seen = taps([*merge(theta), *jax.tree.leaves((state, example))], zeros)
            return logits[0], taps.inputs(seen)

        logits, vjp, of_layers = jax.vjp(run, theta, taps.zeros(), has_aux=True)

        def pull(cotangent):
            others, grads = vjp(cotangent)
            return taps.gradients(grads), others

        if combination is None:
            return of_layers, *jax.vmap(pull)(cotangents(outputs, logits.size, logits.dtype))
        return of_layers, *jax.vmap(pull)(combination[None])

    return jax.vmap(one)(x, combinations)


@functools.partial(jax.jit, static_argnames="window")
def layer_inputs(window: Window | None, a: Array) -> Array:
    """Inputs ``[c, S, F]`` at each position: those of a layer, or a convolution's patches."""
    if window is None:
        return a
    return patches(window, a).reshape(a.shape[0], -1, math.prod(window.shape) * a.shape[-1])
