"""Loss, accuracy and mean intersection over union over a whole data set, every example once."""

import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ntk_prune.losses import Loss, cross_entropy, labelled
from ntk_prune.training.parallel import AXIS, Devices, data_mesh, place, replicate
from ntk_prune.types import Array, Model, Params, State

Evaluate = Callable[[Params, State], dict[str, float]]
WholeSet = Callable[[], Iterable[tuple[Array, Array, Array]]]
"""Raw examples ``x [B, ...]``, labels ``y [B, ...]`` and ``weight [B]``, 0 for what fills up."""


def make_evaluate(
    model: Model,
    batches: WholeSet,
    prepare: Callable[[Array], Array],
    devices: Devices = None,
    loss: Loss = cross_entropy,
) -> Evaluate:
    """``evaluate(params, state) -> {"loss", "accuracy", "n"}`` under the running statistics.

    Means over all labelled entries; ``n`` is the number of examples. Where every pixel has a label
    there is ``"miou"`` too: the mean over the classes that occur, in labels or predictions, of
    ``true positives / (labelled so + predicted so - true positives)``. Compiles once.

    Args:
        model: The network; ``params`` are already multiplied by their mask.
        batches: The data set, in batches of one size that the devices share.
        prepare: Raw examples to float inputs.
        devices: Which devices; default all.
        loss: One number per labelled entry.
    """
    mesh = data_mesh(devices)
    shared = NamedSharding(mesh, PartitionSpec(AXIS))

    @jax.jit
    def sums(params: Params, state: State, x: Array, y: Array, weight: Array):
        logits, _ = model.apply(params, state, prepare(x), train=False)
        weights = jnp.expand_dims(weight, range(1, y.ndim)) * labelled(y, logits.shape[-1])
        predicted = logits.argmax(-1)
        losses = jnp.sum(loss(logits, y) * weights)
        correct = jnp.sum((predicted == y) * weights)
        confusion = _confusion(y, predicted, weights, logits.shape[-1]) if y.ndim > 1 else 0.0
        return losses, correct, weights.sum(), weight.sum(), confusion

    def evaluate(params: Params, state: State) -> dict[str, float]:
        params, state = replicate(mesh, (params, state))
        totals = [sums(params, state, *place(batch, (shared,) * 3)) for batch in batches()]
        columns = zip(*totals, strict=True)
        losses, correct, count, n, confusion = (
            np.sum([np.asarray(part, np.float64) for part in column], axis=0) for column in columns
        )
        result = {"loss": float(losses / count), "accuracy": float(correct / count), "n": int(n)}
        return result if np.ndim(confusion) == 0 else {**result, "miou": mean_iou(confusion)}

    return evaluate


def every_example(x: Array, y: Array, batch_size: int = 500, devices: Devices = None) -> WholeSet:
    """Arrays ``x [n, ...]``, ``y [n, ...]`` that stay on the devices, ``batch_size`` (rounded up to
    a multiple of the devices) at a time; the last batch is filled up with weight 0."""
    mesh = data_mesh(devices)
    n = len(x)
    batch_size = -(-min(batch_size, n) // mesh.size) * mesh.size
    x, y = replicate(mesh, (x, y))
    shared = NamedSharding(mesh, PartitionSpec(AXIS))

    @functools.partial(jax.jit, out_shardings=shared)
    def gather(x: Array, y: Array, rows: Array) -> tuple[Array, Array]:
        return x[rows], y[rows]

    def batches() -> Iterator[tuple[Array, Array, Array]]:
        for start in range(0, n, batch_size):
            rows = np.arange(start, start + batch_size, dtype=np.int32)
            yield *gather(x, y, np.minimum(rows, n - 1)), (rows < n).astype(np.float32)

    return batches


def _confusion(y: Array, predicted: Array, weights: Array, num_classes: int) -> Array:
    """``[C, C]``: how often a class (row) was predicted as another (column)."""
    cell = jnp.clip(y, 0, num_classes - 1) * num_classes + predicted
    counts = jnp.bincount(cell.ravel(), weights.ravel(), length=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean intersection over union of a confusion matrix ``[C, C]``, over classes that occur.

    >>> mean_iou(np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    0.5833333333333333
    """
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    return float(np.mean(hits[union > 0] / union[union > 0]))
