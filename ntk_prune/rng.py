"""Named random streams, so that two methods with one seed share initial weights and data order."""

import zlib

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
