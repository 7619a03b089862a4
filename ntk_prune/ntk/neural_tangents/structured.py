"""Structured derivatives: the linear program of a network in its parameters, and its equations'
derivatives. neural-tangents walks the program backwards and contracts equation by equation.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.core
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import ad


def replace_helpers(empirical: Any) -> None:
    """Put the functions of this module where ``neural_tangents._src.empirical`` has its own."""
    pullback = functools.partial(_primals_out_and_pullback, empirical._backward_pass)
    empirical._get_primals_out_and_pullback = pullback  # used jax.interpreters.ad.linearize
    empirical._eqn_vjp_fn = _eqn_vjp  # used transpose rules, some of which are gone
    empirical._eqn_jvp_fn = _eqn_jvp  # used the table of jvp rules
    empirical._get_flops = _flops  # cost_analysis() returned a list


@dataclasses.dataclass(frozen=True, eq=False)
class _Variable:
    aval: Any


@dataclasses.dataclass(frozen=True, eq=False)
class _Equation:
    primitive: Any
    params: dict[str, Any]
    invars: list[_Variable]
    outvars: list[_Variable]

    replace = dataclasses.replace

    def __call__(self, *values: Any) -> Any:
        return self.primitive.bind(*values, **self.params)


class _LinearProgram:
    """A linear jaxpr as a flat list of single-output equations; what is constant is evaluated.

    Has the four attributes that neural-tangents reads of a jaxpr. ``variables`` that no tangent
    reaches are ``constvars``, with their values in ``consts``.
    """

    def __init__(self, closed: jax.extend.core.ClosedJaxpr):
        self.eqns: list[_Equation] = []
        self.constvars: list[_Variable] = []
        self.consts: list[Any] = []
        self.invars = [_Variable(v.aval) for v in closed.jaxpr.invars]
        outs = self._inline(closed.jaxpr, closed.consts, self.invars)
        self.out_is_linear = [isinstance(out, _Variable) for out in outs]
        self.outvars = [out for out in outs if isinstance(out, _Variable)]
        self.eqns = list(_reached(self.eqns, self.outvars))[::-1]

    def _inline(self, jaxpr: Any, consts: Sequence, args: Sequence) -> list:
        """Outputs of ``jaxpr``: a ``_Variable`` where a tangent reaches, else the value."""
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
        for eqn in jaxpr.eqns:
            inputs = [_read(env, v) for v in eqn.invars]
            env.update(zip(eqn.outvars, self._evaluate(eqn, inputs), strict=True))
        return [_read(env, v) for v in jaxpr.outvars]

    def _evaluate(self, eqn: Any, inputs: list) -> list:
        if inner := _called(eqn):
            return self._inline(inner.jaxpr, inner.consts, inputs)
        if not any(isinstance(x, _Variable) for x in inputs):
            out = eqn.primitive.bind(*inputs, **eqn.params)
            return list(out) if eqn.primitive.multiple_results else [out]
        if eqn.primitive is lax.split_p:
            return [self._emit(lax.slice_p, p, inputs, v.aval) for p, v in _slices(eqn)]
        if len(eqn.outvars) != 1:
            raise NotImplementedError(
                f"structured derivatives of a network with a '{eqn.primitive}': it has several"
                " outputs; use NtkImplementation.JACOBIAN_CONTRACTION"
            )
        return [self._emit(eqn.primitive, eqn.params, inputs, eqn.outvars[0].aval)]

    def _emit(self, primitive: Any, params: dict, inputs: list, aval: Any) -> _Variable:
        out = _Variable(aval)
        self.eqns.append(_Equation(primitive, params, [self._variable(x) for x in inputs], [out]))
        return out

    def _variable(self, x: Any) -> _Variable:
        if isinstance(x, _Variable):
            return x
        self.constvars.append(_Variable(jax.typeof(x)))
        self.consts.append(x)
        return self.constvars[-1]


def _read(env: dict, v: Any) -> Any:
    return v.val if isinstance(v, jax.extend.core.Literal) else env[v]


def _called(eqn: Any) -> jax.extend.core.ClosedJaxpr | None:
    """The program that a call-like equation (jit, remat, custom_jvp_call, ...) calls, if any."""
    names = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")
    custom = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_lin")
    if eqn.primitive.name not in (*names, *custom):
        return None
    keys = ("jaxpr", "call_jaxpr", "fun_jaxpr")
    inner = next(eqn.params[key] for key in keys if key in eqn.params)
    is_closed = isinstance(inner, jax.extend.core.ClosedJaxpr)
    return inner if is_closed else jax.extend.core.ClosedJaxpr(inner, ())


def _slices(eqn: Any) -> Iterator[tuple[dict, Any]]:
    """The parts of a ``split`` as the parameters of one ``slice`` each."""
    shape, axis = eqn.invars[0].aval.shape, eqn.params["axis"]
    stops = np.cumsum(eqn.params["sizes"])
    for size, stop, var in zip(eqn.params["sizes"], stops, eqn.outvars, strict=True):
        start, limit = [0] * len(shape), list(shape)
        start[axis], limit[axis] = int(stop) - size, int(stop)
        yield {"start_indices": tuple(start), "limit_indices": tuple(limit), "strides": None}, var


def _reached(eqns: list[_Equation], outvars: list[_Variable]) -> Iterator[_Equation]:
    """The equations that ``outvars`` need, last first."""
    needed = set(outvars)
    for eqn in reversed(eqns):
        if needed.intersection(eqn.outvars):
            needed.update(eqn.invars)
            yield eqn


def _primals_out_and_pullback(
    backward_pass: Callable, fn: Callable, mode: Any, _j_rules, _s_rules, _fwd, *primals: Any
) -> tuple[Any, Callable]:
    """``fn(*primals)``, and neural-tangents' backward pass through its linear program."""
    with jax.disable_jit():  # also unrolls loops, which have no rules
        out, tangent_map = jax.linearize(fn, *primals)
        program = _LinearProgram(jax.make_jaxpr(tangent_map)(*primals))

    def pullback(*cotangents: Any) -> Any:
        flat = jax.tree.leaves(cotangents)
        kept = (ct for ct, linear in zip(flat, program.out_is_linear, strict=True) if linear)
        outs = backward_pass(
            program,
            mode=mode,
            consts=program.consts,
            primals_in=[ad.UndefinedPrimal(v.aval) for v in program.invars],
            cotangents_in=tuple(kept),
            _j_rules=_j_rules,
            _s_rules=_s_rules,
            _fwd=_fwd,
        )
        return jax.tree.unflatten(jax.tree.structure(primals), outs)

    return out, pullback


def _value(x: Any) -> Any:
    """``x``, or zeros where neural-tangents passes only a shape (the value does not matter)."""
    aval = x.aval if isinstance(x, ad.UndefinedPrimal) else x
    return jnp.zeros(aval.shape, aval.dtype) if _is_abstract(aval) else x


def _is_abstract(x: Any) -> bool:
    return isinstance(x, jax.core.ShapedArray)


def _eqn_vjp(eqn: _Equation | None, ct: Any, *invals: Any) -> list:
    """Cotangents of ``invals``, zero where the input is constant; ``eqn=None`` is the identity."""
    if eqn is None:
        return [ct]
    linear = [i for i, x in enumerate(invals) if isinstance(x, ad.UndefinedPrimal)]
    cts = [ad.Zero(jax.typeof(_value(x))) for x in invals]
    if isinstance(ct, ad.Zero):
        return cts
    transpose = jax.linear_transpose(
        functools.partial(_apply_at, eqn, linear, invals), *(_struct(invals[i]) for i in linear)
    )
    for i, ct_in in zip(linear, transpose(ct), strict=True):
        cts[i] = ct_in
    return cts


def _eqn_jvp(eqn: _Equation | None, index: int, tangent: Any, *invals: Any) -> Any:
    """Tangent of the output for ``tangent`` at input ``index``; ``eqn=None`` is the identity."""
    if eqn is None:
        return tangent
    f = functools.partial(_apply_at, eqn, [index], invals)
    return jax.jvp(f, (jnp.zeros_like(tangent),), (tangent,))[1]


def _apply_at(eqn: _Equation, indices: Sequence[int], invals: Sequence, *values: Any) -> Any:
    """``eqn`` at ``invals``, with ``values`` instead at ``indices``."""
    given = dict(zip(indices, values, strict=True))
    return eqn(*(given[i] if i in given else _value(x) for i, x in enumerate(invals)))


def _struct(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.aval.shape, x.aval.dtype)


def _flops(f: Callable, optimize: bool, *args: Any, **kwargs: Any) -> float:
    """FLOPs of ``f``, by XLA's count."""
    lowered = jax.jit(f).lower(*args, **kwargs)
    analysis = (lowered.compile() if optimize else lowered).cost_analysis()
    return analysis["flops"] if analysis else float("nan")
