"""How much the compiler is to do for a program."""

import functools
from collections.abc import Callable
from typing import Any

import jax


def jit_once(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``jax.jit`` of a function that runs once or twice, with little optimisation on a CPU.

    There the initialisation of a ResNet-20 compiles in a third of the time, to the same numbers.
    """

    @functools.cache
    def compiled(backend: str) -> Callable[..., Any]:
        little = {"xla_backend_optimization_level": 1} if backend == "cpu" else None
        return jax.jit(function, compiler_options=little, **options)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled(jax.default_backend())(*args, **kwargs)

    return call
