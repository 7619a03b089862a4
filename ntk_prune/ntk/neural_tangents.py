"""neural-tangents 0.6.5 on current JAX: ``nt = neural_tangents.load()``.

The library (arXiv:1912.02803, 2206.08720; last commit March 2024) imports names that JAX removed.
Its modules are executed here with an ``__import__`` of their own, which hands them views of
``jax``, ``jax.numpy``, ``scipy``, ...: the real module, with a few names added or replaced. Neither
``jax`` nor any file of either library is touched, and nobody else sees the views. After the import
four helpers of its empirical kernels, most of which worked on internals of JAX's autodiff, are
replaced by the same mathematics on public JAX.
"""

import builtins
import dataclasses
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.core
import jax.extend.core
import jax.interpreters
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax import lax
from jax.interpreters import ad

VERSION = "0.6.5"
_NAME = "neural_tangents"


@functools.cache
def load() -> types.ModuleType:
    """The hosted ``neural_tangents`` module: ``stax``, ``predict``, the empirical kernels.

    Afterwards a plain ``import neural_tangents`` gives the same module. TensorFlow stays out:
    ``neural_tangents.experimental``, the one part that needs it, is an empty stand-in.

    Raises:
        ImportError: it is not installed, is of another version, or was imported before this call.

    >>> load().stax.Relu  # doctest: +ELLIPSIS
    <function Relu at ...>
    """
    _check()
    sys.modules[f"{_NAME}.experimental"] = _experimental()
    finder = Finder(_NAME, views())
    sys.meta_path.insert(0, finder)
    try:
        hosted = importlib.import_module(_NAME)
    except BaseException:
        for name in _loaded():
            del sys.modules[name]  # a half-made module would look like one imported before
        raise
    finally:
        sys.meta_path.remove(finder)
    _replace_helpers(sys.modules[f"{_NAME}._src.empirical"])
    return hosted


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == _NAME]


def _check() -> None:
    if _loaded():  # also after a plain import that failed half-way
        raise ImportError(
            "neural_tangents was imported before its host: call"
            " ntk_prune.ntk.neural_tangents.load() first, or instead of importing it"
        )
    try:
        version = importlib.metadata.version("neural-tangents")
    except importlib.metadata.PackageNotFoundError:
        raise ImportError(
            f"neural-tangents is not installed: pip install neural-tangents=={VERSION}"
        ) from None
    if version != VERSION:
        raise ImportError(
            f"neural-tangents {version} is not the version hosted here:"
            f" pip install neural-tangents=={VERSION}"
        )


def _experimental() -> types.ModuleType:
    """In place of the one subpackage that imports TensorFlow and tf2jax."""
    stand_in = types.ModuleType(f"{_NAME}.experimental", "Needs TensorFlow; not hosted.")
    stand_in.__path__ = []
    return stand_in


# What neural-tangents sees of the libraries it imports.


class View(types.ModuleType):
    """A module seen through: ``overrides`` first, then the attributes of ``module``."""

    def __init__(self, module: types.ModuleType, **overrides: Any):
        super().__init__(module.__name__, module.__doc__)
        vars(self).update(overrides, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@functools.cache
def views() -> dict[str, types.ModuleType]:
    """Dotted name -> what neural-tangents gets when it imports that module."""
    core = View(jax.core, **_core_names())
    autodiff = View(ad, **_autodiff_names())
    interpreters = View(jax.interpreters, ad=autodiff)
    numpy = View(jnp, size=_size, dtype=_dtype)
    linalg = View(scipy.linalg, eigvalsh=_eigvalsh)
    return {
        "jax": View(jax, core=core, interpreters=interpreters, numpy=numpy),
        "jax.core": core,
        "jax.interpreters": interpreters,
        "jax.interpreters.ad": autodiff,
        "jax.numpy": numpy,
        "jax.util": _namespace("jax.util", safe_map=_safe_map, safe_zip=_safe_zip),
        "scipy": View(scipy, linalg=linalg),
        "scipy.linalg": linalg,
    }


def _namespace(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


def _core_names() -> dict[str, Any]:
    """Names that left ``jax.core``; the types live on in ``jax.extend.core``."""
    moved = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
    return {
        **{name: getattr(jax.extend.core, name) for name in moved},
        "Value": Any,  # an annotation only
        "DShapedArray": type("DShapedArray", (), {}),  # nothing is an instance: shapes are static
        # JAX's own eval_context rejects tracers, which predict and attention have in hand.
        "eval_context": jax.ensure_compile_time_eval,
    }


def _autodiff_names() -> dict[str, Any]:
    """Names that left ``jax.interpreters.ad``; the rest is still there."""
    return {
        "source_info_util": types.SimpleNamespace(transform_name_stack=jax.named_scope),
        # Its self-check under jax_enable_checks calls functions that are gone: keep it off.
        "config": types.SimpleNamespace(jax_enable_checks=False),
        # No program contains it any more, but a rule is registered for it.
        "zeros_like_p": jax.extend.core.Primitive("zeros_like"),
    }


def _safe_map(f: Callable, *args: Sequence) -> list:
    return [f(*xs) for xs in zip(*args, strict=True)]


def _safe_zip(*args: Sequence) -> list[tuple]:
    return list(zip(*args, strict=True))


def _size(a: Any, axis: int | None = None) -> int:
    """``jnp.size``, also of abstract arrays, which it refuses by now."""
    shape = getattr(a, "shape", ())
    return int(np.prod(shape)) if axis is None else shape[axis]


def _dtype(a: Any) -> np.dtype:
    """``jnp.dtype``, also of an array, which numpy deprecated."""
    return np.dtype(getattr(a, "dtype", a))


def _eigvalsh(a: Any, *, eigvals: tuple[int, int], **kwargs: Any) -> np.ndarray:
    """scipy renamed ``eigvals`` to ``subset_by_index``."""
    return scipy.linalg.eigvalsh(a, subset_by_index=eigvals, **kwargs)


# How its modules are executed with these views.


class Finder(importlib.abc.MetaPathFinder):
    """Has the modules of ``package`` import ``views`` of other modules, keyed by dotted name."""

    def __init__(self, package: str, views: dict[str, types.ModuleType]):
        self._package = package
        self._builtins = {**vars(builtins), "__import__": functools.partial(_import, views)}

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname.partition(".")[0] != self._package:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._builtins)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname: str, path: str, hosted_builtins: dict[str, Any]):
        super().__init__(fullname, path)
        self._builtins = hosted_builtins

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module)["__builtins__"] = self._builtins  # Python takes __import__ from here
        super().exec_module(module)


def _import(
    views: dict[str, types.ModuleType],
    name: str,
    globals: Any = None,
    locals: Any = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    """``__import__``, but a module that has a view is returned as its view."""
    root = views.get(name.partition(".")[0])
    if level or root is None:
        return __import__(name, globals, locals, fromlist or (), level)
    module = views.get(name) or __import__(name, globals, locals, fromlist or (), level)
    return module if fromlist else root


# Structured derivatives: the linear program of a network in its parameters, and its equations'
# derivatives. neural-tangents walks the program backwards and contracts equation by equation.


def _replace_helpers(empirical: Any) -> None:
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
