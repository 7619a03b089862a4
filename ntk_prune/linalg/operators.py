"""Symmetric matrices that are known only by their products with vectors."""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.types import Array, Key


class LinearMap(Protocol):
    """A function of one flat vector."""

    def __call__(self, vector: Array, /) -> Array: ...


@dataclasses.dataclass(frozen=True)
class SymmetricOperator:
    """A real symmetric matrix ``A [size, size]``.

    Attributes:
        matvec: ``v [size] -> A v [size]``; traceable by JAX.
        size: Rows of ``A``.
        dtype: Of the vectors that ``matvec`` takes and returns.

    >>> a = from_matrix(np.diag([1.0, 3.0]))
    >>> (a - from_matrix(np.eye(2))).dense().tolist()
    [[0.0, 0.0], [0.0, 2.0]]
    """

    matvec: LinearMap
    size: int
    dtype: Any

    @property
    def shape(self) -> tuple[int, int]:
        """``(size, size)``."""
        return self.size, self.size

    def __sub__(self, other: "SymmetricOperator") -> "SymmetricOperator":
        """``A - B``; ValueError when the sizes differ."""
        if self.size != other.size:
            raise ValueError(f"operators of sizes {self.size} and {other.size} have no difference")
        difference = lambda v: self.matvec(v) - other.matvec(v)  # noqa: E731
        return SymmetricOperator(difference, self.size, self.dtype)

    def dense(self) -> np.ndarray:
        """The matrix ``[size, size]``, by ``size`` products: for small operators."""
        units = jnp.eye(self.size, dtype=self.dtype)
        return np.stack([np.asarray(self.matvec(unit)) for unit in units], axis=1)


def from_matrix(matrix: Array) -> SymmetricOperator:
    """The operator of a symmetric ``matrix [size, size]``, in the type JAX gives it.

    Raises ValueError when the matrix is not square.
    """
    values = jnp.asarray(matrix)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(f"a symmetric operator needs a square matrix, got {values.shape}")
    return SymmetricOperator(lambda v: values @ v, values.shape[0], values.dtype)


def random_signs(key: Key, operator: SymmetricOperator) -> Array:
    """A probe ``[size]`` of independent signs, whose outer product has mean ``I``."""
    return jax.random.rademacher(key, (operator.size,), operator.dtype)
