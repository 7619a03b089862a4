"""Accuracy and loss over a whole data set, every example exactly once."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from ntk_prune.training.parallel import AXIS, Devices, data_mesh, replicate
from ntk_prune.types import Array, Model, Params, State

Evaluate = Callable[[Params, State], dict[str, float]]


def make_evaluate(
    model: Model,
    x: Array,
    y: Array,
    normalise: Callable[[Array], Array],
    batch_size: int = 500,
    devices: Devices = None,
) -> Evaluate:
    """``evaluate(params, state) -> {"loss", "accuracy", "n"}`` under the running statistics.

    Means over all ``n`` examples. The data stay on the devices, which share each batch; the last
    batch is filled up with examples of weight 0, so sizes need not divide. Compiles once.

    Args:
        model: The network; ``params`` are already multiplied by their mask.
        x: Raw examples ``[n, ...]``.
        y: Labels ``[n]``.
        normalise: Raw examples to float inputs.
        batch_size: Examples at a time, rounded up to a multiple of the devices.
        devices: Which devices; default all.
    """
    mesh = data_mesh(devices)
    batch_size = -(-min(batch_size, len(x)) // mesh.size) * mesh.size
    x, y = replicate(mesh, (x, y))
    shared = NamedSharding(mesh, PartitionSpec(AXIS))

    @jax.jit
    def sums(params: Params, state: State, x: Array, y: Array, rows: Array, weight: Array):
        inputs = normalise(jax.lax.with_sharding_constraint(x[rows], shared))
        logits, _ = model.apply(params, state, inputs, train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y[rows])
        return jnp.sum(losses * weight), jnp.sum((logits.argmax(-1) == y[rows]) * weight)

    def evaluate(params: Params, state: State) -> dict[str, float]:
        params, state = replicate(mesh, (params, state))
        batches = _batches(len(x), batch_size)
        totals = [sums(params, state, x, y, rows, weight) for rows, weight in batches]
        loss, correct = np.asarray(totals, np.float64).sum(0) / len(x)
        return {"loss": float(loss), "accuracy": float(correct), "n": len(x)}

    return evaluate


def _batches(n: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``(rows, weight)`` covering 0..n-1 once; what is beyond the end has weight 0."""
    for start in range(0, n, batch_size):
        rows = np.arange(start, start + batch_size, dtype=np.int32)
        yield np.minimum(rows, n - 1), (rows < n).astype(np.float32)
