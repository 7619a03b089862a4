"""neural-tangents 0.6.5 on current JAX: ``nt = neural_tangents.load()``.

The library (arXiv:1912.02803, 2206.08720; last commit March 2024) imports names that JAX removed.
Its modules are executed here with an ``__import__`` of their own, which hands them views of
``jax``, ``jax.numpy``, ``scipy``, ...: the real module, with a few names added or replaced. Neither
``jax`` nor any file of either library is touched, and nobody else sees the views. After the import
four helpers of its empirical kernels, most of which worked on internals of JAX's autodiff, are
replaced by the same mathematics on public JAX (``structured``).
"""

import builtins
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.extend.core
import jax.interpreters
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.interpreters import ad

from ntk_prune.ntk.neural_tangents import structured

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
    structured.replace_helpers(sys.modules[f"{_NAME}._src.empirical"])
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
            "analytic kernels need neural-tangents: pip install 'ntk_prune[analytic]'"
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
