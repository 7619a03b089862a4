"""Inputs and output gradients of the linear layers inside an arbitrary function of parameters.

A function is traced once and read as a flat list of equations. Where a parameter array ``w`` enters
exactly one linear map, a convolution or a product ``y = a w``, the map is *tapped*: a zero ``z`` is
added to ``y``, so that the gradient with respect to ``z`` is the output gradient ``dy``, and ``a``
is returned. Then ``dL/dw = a^T dy``, example by example, without ever differentiating in ``w``.
Nothing has to be known about how the function was written.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from ntk_prune.conv_patches import Window
from ntk_prune.types import Array

_INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "remat2": "jaxpr"}


class Layer(NamedTuple):
    """A tapped linear map.

    ``leaf`` is the index of its weight among the parameter leaves; ``weight_order`` the permutation
    that brings the weight to ``[inputs..., outputs...]``, of which the first ``num_inputs`` axes
    are summed over; ``window`` is None unless it is a convolution.
    """

    leaf: int
    weight_order: tuple[int, ...]
    num_inputs: int
    window: Window | None


class _Equation(NamedTuple):
    equation: core.JaxprEqn
    alone: core.ClosedJaxpr  # the jaxpr of this equation only, over its distinct variables
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.equation.primitive.name


class _Program(NamedTuple):
    """Equations over numbered values, calls inlined; ``constants`` are the values known already."""

    equations: list[_Equation]
    constants: dict[int, Any]
    inputs: list[int]
    outputs: list[int]


class _Site(NamedTuple):
    """Where a layer sits: its equation, and which operand is the weight."""

    layer: Layer
    index: int
    operand: int


class Tapped(NamedTuple):
    """A traced function with taps: called with its flat arguments and one zero a layer."""

    program: _Program
    sites: list[_Site]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The tapped layers, in the order of execution."""
        return tuple(site.layer for site in self.sites)

    def zeros(self) -> list[Array]:
        """One zero array for the output of each tapped layer."""
        outputs = (self.program.equations[s.index].equation.outvars[0].aval for s in self.sites)
        return [jnp.zeros(aval.shape, aval.dtype) for aval in outputs]  # pyright: ignore

    def __call__(self, arguments: Sequence[Array], zeros: Sequence[Array]):
        """The function's flat outputs, and the input of each tapped layer."""
        values = dict(self.program.constants)
        values.update(zip(self.program.inputs, arguments, strict=True))
        taps = {s.index: (s, z) for s, z in zip(self.sites, zeros, strict=True)}
        inputs = []
        for i, step in enumerate(self.program.equations):
            results = _evaluate(step, values)
            if i in taps:
                site, zero = taps[i]
                inputs.append(values[step.inputs[1 - site.operand]])
                results = [results[0] + zero]
            values.update(zip(step.outputs, results, strict=True))
        return [values[o] for o in self.program.outputs], inputs

    def inputs(self, inputs: Sequence[Array]) -> list[Array]:
        """Layer inputs in canonical order: ``[S, F]``, or ``[space..., channels]``."""
        return [self._canonical_input(s, a) for s, a in zip(self.sites, inputs, strict=True)]

    def gradients(self, gradients: Sequence[Array]) -> list[Array]:
        """Output gradients as ``[S, O]``: positions by output units."""
        return [self._canonical_output(s, g) for s, g in zip(self.sites, gradients, strict=True)]

    def _canonical_input(self, site: _Site, a: Array) -> Array:
        params = self.program.equations[site.index].equation.params
        if site.layer.window:
            spec = params["dimension_numbers"].lhs_spec
            return a.transpose(*spec[2:], spec[0], spec[1])[..., 0, :]
        contracted = params["dimension_numbers"][0][1 - site.operand]
        free = [d for d in range(a.ndim) if d not in contracted]
        size = math.prod(a.shape[d] for d in contracted)
        return a.transpose(*free, *contracted).reshape(-1, size)

    def _canonical_output(self, site: _Site, g: Array) -> Array:
        step = self.program.equations[site.index].equation
        if site.layer.window:
            spec = step.params["dimension_numbers"].out_spec
            return g.transpose(*spec[2:], spec[0], spec[1]).reshape(-1, g.shape[spec[1]])
        outputs = len(site.layer.weight_order) - site.layer.num_inputs
        if site.operand == 0:  # the weight came first, and so do its axes
            g = g.transpose(*range(outputs, g.ndim), *range(outputs))
        return g.reshape(-1, math.prod(g.shape[g.ndim - outputs :]))


def tap(function: Callable, leaves: Sequence[Any], rest: Any, wanted: Sequence[bool]) -> Tapped:
    """Trace ``function(leaves, rest)`` and tap the layers of its ``wanted`` leaves.

    Args:
        function: Maps a list of parameter arrays and any tree of further inputs to an array.
        leaves: The parameter arrays, or their shapes.
        rest: The further inputs, or their shapes.
        wanted: Which leaves are differentiated. A wanted leaf that is not tapped (a bias, a norm's
            scale, a weight used twice) has to be differentiated in the usual way.
    """
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (list(leaves), rest))
    program = _flatten(jax.make_jaxpr(function)(*shapes))
    return Tapped(program, _find(program, wanted))


def _evaluate(step: _Equation, values: dict[int, Any]) -> list[Any]:
    """Run one equation."""
    named = zip(step.equation.invars, step.inputs, strict=True)
    known = {v: values[slot] for v, slot in named if not isinstance(v, core.Literal)}
    return core.jaxpr_as_fun(step.alone)(*(known[v] for v in step.alone.jaxpr.invars))


def _alone(jaxpr: core.Jaxpr, equation: core.JaxprEqn) -> core.ClosedJaxpr:
    variables = dict.fromkeys(v for v in equation.invars if not isinstance(v, core.Literal))
    only = jaxpr.replace(
        constvars=[], invars=list(variables), outvars=list(equation.outvars), eqns=[equation]
    )
    return core.ClosedJaxpr(only, ())


def _flatten(closed: core.ClosedJaxpr) -> _Program:
    """The program of a jaxpr with its calls inlined."""
    program = _Program([], {}, [], [])
    counter = iter(range(1 << 62))
    program.inputs.extend(next(counter) for _ in closed.jaxpr.invars)
    program.outputs.extend(_inline(program, counter, closed, program.inputs))
    return program


def _called(equation: core.JaxprEqn) -> Any:
    """The program that an equation calls, where it has the derivative of that program."""
    if equation.primitive.name == "custom_jvp_call":
        called = equation.params["call_jaxpr"]
        names = [inner.primitive.name for inner in called.jaxpr.eqns]
        return called if names == ["conv_general_dilated"] else None
    return equation.params.get(_INLINED.get(equation.primitive.name, ""))


def _inline(program: _Program, counter, closed, inputs: Sequence[int]) -> list[int]:
    """Append the equations of a (closed) jaxpr applied to ``inputs``; return its output slots."""
    jaxpr, constants = getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())
    slots = dict(zip(jaxpr.invars, inputs, strict=True))

    def constant(value) -> int:
        slot = next(counter)
        program.constants[slot] = value
        return slot

    def read(variable) -> int:
        return constant(variable.val) if isinstance(variable, core.Literal) else slots[variable]

    slots.update((v, constant(c)) for v, c in zip(jaxpr.constvars, constants, strict=True))
    for equation in jaxpr.eqns:
        arguments = tuple(read(v) for v in equation.invars)
        inner = _called(equation)
        if inner is not None:
            results = _inline(program, counter, inner, arguments)
        else:
            results = tuple(next(counter) for _ in equation.outvars)
            alone = _alone(jaxpr, equation)
            program.equations.append(_Equation(equation, alone, arguments, results))
        slots.update(zip(equation.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _find(program: _Program, wanted: Sequence[bool]) -> list[_Site]:
    """The equations whose weight is a wanted leaf, or its transpose, used nowhere else."""
    uses = Counter(program.outputs)
    for step in program.equations:
        uses.update(step.inputs)
    # value -> (leaf, the permutation that made it from the leaf)
    weights: dict[int, tuple[int, tuple[int, ...] | None]] = {
        slot: (leaf, None)
        for leaf, slot in enumerate(program.inputs[: len(wanted)])
        if wanted[leaf]
    }
    sites = []
    for index, step in enumerate(program.equations):
        operands = [(i, s) for i, s in enumerate(step.inputs) if s in weights and uses[s] == 1]
        if len(operands) != 1:
            continue
        operand, slot = operands[0]
        leaf, order = weights[slot]
        if step.name == "transpose":
            permutation = step.equation.params["permutation"]
            order = tuple(order[p] for p in permutation) if order else tuple(permutation)
            weights[step.outputs[0]] = (leaf, order)
        elif layer := _layer(step, operand, leaf, order):
            sites.append(_Site(layer, index, operand))
    return sites


def _layer(step: _Equation, operand: int, leaf: int, order) -> Layer | None:
    """The layer of a linear map, or None where the equation is something else."""
    if step.name == "dot_general":
        geometry = _linear(step.equation, operand)
    elif step.name == "conv_general_dilated" and operand == 1:
        geometry = _convolution(step.equation)
    else:
        geometry = None
    if geometry is None:
        return None
    axes, num_inputs, window = geometry
    return Layer(leaf, tuple(order[a] for a in axes) if order else axes, num_inputs, window)


def _aval(variable: Any) -> Any:
    """The shape and type of a variable."""
    return variable.aval


def _linear(equation: core.JaxprEqn, operand: int):
    contracted, batched = equation.params["dimension_numbers"]
    types = {_aval(v).dtype for v in (*equation.invars, *equation.outvars)}
    if batched[0] or len(types) > 1:
        return None
    inputs = tuple(contracted[operand])
    outputs = tuple(d for d in range(_aval(equation.invars[operand]).ndim) if d not in inputs)
    return inputs + outputs, len(inputs), None


def _convolution(equation: core.JaxprEqn):
    params, shape = equation.params, _aval(equation.invars[1]).shape
    batch = _aval(equation.invars[0]).shape[params["dimension_numbers"].lhs_spec[0]]
    if batch != 1 or params["feature_group_count"] != 1 or params["batch_group_count"] != 1:
        return None
    out, channels, *space = params["dimension_numbers"].rhs_spec
    window = Window(
        tuple(shape[s] for s in space),
        *(tuple(params[k]) for k in ("window_strides", "padding", "lhs_dilation", "rhs_dilation")),
    )
    return (*space, channels, out), len(space) + 1, window
