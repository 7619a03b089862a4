"""What a function is to a cache of compiled programs: its code and all that it reads.

JAX compiles once for a function object. A function that reads a variable which has changed since
would be answered by the old program. ``keyed(f)`` compares equal to another one only where code,
closure, defaults and the globals that it names are the same, however deep functions call each other
outside installed libraries; where that cannot be told, never.
"""

import dataclasses
import functools
import sysconfig
import types
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
"""Where libraries lie, whose global variables are taken to stay as they are."""


@dataclasses.dataclass(frozen=True)
class Keyed:
    """A function that is compared and hashed by ``key``; it also makes unhashable ones usable."""

    function: Callable = dataclasses.field(compare=False)
    key: Hashable

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.function(*arguments, **options)


def keyed(function: Callable) -> Keyed:
    """``function`` by what it is.

    >>> def scaled(c):
    ...     return lambda x: c * x
    >>> keyed(scaled(2)) == keyed(scaled(2)), keyed(scaled(2)) == keyed(scaled(3))
    (True, False)
    """
    if isinstance(function, Keyed):
        return function
    return Keyed(function, _key(function, ()))


@dataclasses.dataclass(frozen=True, eq=False)
class _Never:
    """Equal to nothing but itself: for values that may change without a sign."""


@dataclasses.dataclass(frozen=True)
class _Same:
    """Equal where the value is the same object, which it keeps alive."""

    value: Any = dataclasses.field(compare=False)
    identity: int


def _key(value: Any, above: tuple[int, ...]) -> Hashable:
    """What ``value`` is equal by; ``above`` are the functions around it, which may read itself."""
    if isinstance(value, types.MethodType):
        return "method", _key(value.__func__, above), _key(value.__self__, above)
    if isinstance(value, functools.partial):
        return "partial", _key((value.func, value.args, value.keywords), above)
    if isinstance(value, types.FunctionType):
        return _key_of_function(value, above)
    if hasattr(value, "__wrapped__"):  # by jax.jit
        return "wrapped", _key(value.__wrapped__, above)
    if isinstance(value, dict):
        return "dict", tuple((name, _key(v, above)) for name, v in value.items())
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(_key(v, above) for v in value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, jax.Array | types.ModuleType | types.BuiltinFunctionType | type):
        return _Same(value, id(value))
    compares_values = value is None or type(value).__hash__ not in (object.__hash__, None)
    return (type(value), value) if compares_values and _hashes(value) else _Never()


def _hashes(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _key_of_function(function: types.FunctionType, above: tuple[int, ...]) -> Hashable:
    if id(function) in above:
        return "itself", above.index(id(function))
    above = (*above, id(function))
    cells = [_contents(cell) for cell in function.__closure__ or ()]
    read = {}
    if not function.__code__.co_filename.startswith(_INSTALLED):
        names = sorted(_names(function.__code__) & function.__globals__.keys())
        read = {name: function.__globals__[name] for name in names}
    parts = (cells, function.__defaults__, function.__kwdefaults__, read)
    return function.__code__, _key(parts, above)


def _contents(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _names(code: types.CodeType) -> set[str]:
    """The global names that the code, or a function inside it, may read."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))
