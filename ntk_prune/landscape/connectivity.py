"""Linear mode connectivity: the error on the straight line between two networks.

Frankle et al. (arXiv 1912.05671) call a network stable at a step if two copies of it, trained from
there with different data orders, end without a barrier between them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from ntk_prune.types import Array, Model, Params, State


def interpolate(a: Any, b: Any, t: float) -> Any:
    """``(1 - t) a + t b``, leaf by leaf: weights, or running statistics."""
    return jax.tree.map(lambda x, y: (1 - t) * x + t * y, a, b)


def barrier(errors: Sequence[float] | np.ndarray) -> float:
    """``max_t error(t) - (error(0) + error(1)) / 2`` of ``errors [T]``, from t = 0 to t = 1.

    >>> barrier([0.0, 0.5, 0.25])
    0.375
    """
    values = np.asarray(errors, np.float64)
    return float(values.max() - (values[0] + values[-1]) / 2)


def batch_statistics(model: Model, params: Params, state: State, batches: Iterable[Array]) -> State:
    """The running statistics of ``params``, estimated anew: means over the ``batches`` of inputs
    ``x [B, ...]``, each normalised by its own statistics. Without batch norm, ``state`` itself.

    Between two networks neither's statistics hold (Jordan et al., arXiv 2211.08403).
    """
    if not state:
        return state
    of_batch = jax.jit(lambda params, x: model.apply(params, state, x, train=True, momentum=0.0)[1])
    found = [of_batch(params, x) for x in batches]
    return jax.tree.map(lambda *each: sum(each) / len(each), *found)
