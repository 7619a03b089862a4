"""Named random streams, so that two methods with one seed share initial weights and data order."""

import functools
import zlib
from collections.abc import Callable
from typing import Any

import jax

NAMES = ("init", "data", "augment", "score", "mask")


def stream(seed: int, name: str) -> jax.Array:
    """The key of stream ``name`` for ``seed``; streams of one seed are independent of each other.

    Raises ValueError for a name outside ``NAMES``.
    """
    if name not in NAMES:
        raise ValueError(f"unknown random stream {name!r}; choose one of {', '.join(NAMES)}")
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def derived(seed: int, purpose: str) -> int:
    """Another seed for ``purpose``; different seeds stay different.

    >>> derived(0, "pretraining") != derived(1, "pretraining")
    True
    """
    return (seed + zlib.crc32(purpose.encode())) % 2**32


def jit_drawing(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """``jax.jit`` of a function that draws numbers, with little optimisation on a CPU.

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
