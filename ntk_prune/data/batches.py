"""Which examples, in which order: epochs for training and small stacks of batches for scores."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.types import Array, Batch, Key


def epoch_order(key: Key, epoch: int, n: int, batch_size: int, drop_last: bool = True) -> Array:
    """``int32 [steps, batch_size]``: a permutation of ``0..n-1`` without its incomplete last batch,
    or with it, filled up with -1.

    The order depends on ``fold_in(key, epoch)`` alone, so an epoch can be resumed in the middle.
    Raises ValueError when not even one batch can be filled.

    >>> epoch_order(jax.random.key(0), 0, 5, 2, drop_last=False)[-1].tolist()[-1:]
    [-1]
    """
    if batch_size < 1 or n < batch_size:
        raise ValueError(f"cannot fill a batch of {batch_size} with {n} examples")
    steps = n // batch_size if drop_last else -(-n // batch_size)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), n)[: steps * batch_size]
    order = jnp.pad(order, (0, steps * batch_size - len(order)), constant_values=-1)
    return order.reshape(steps, batch_size).astype(jnp.int32)


class Prepared:
    """Raw examples ``uint8 [n, B, H, W, C]`` that become inputs when some are taken: ``x[i]``.

    Ten thousand images of ImageNet are 1.5 GB as bytes and 6 GB as inputs.

    >>> x = Prepared(np.full((2, 3, 1, 1, 1), 255, np.uint8), lambda raw: raw / 255)
    >>> x.shape, x[0, :1].ravel().tolist(), [len(batch) for batch in x]
    ((2, 3, 1, 1, 1), [1.0], [3, 3])
    """

    def __init__(self, raw: np.ndarray, prepare: Callable[[Array], Array]):
        self._raw, self._prepare = raw, prepare
        batch = jax.eval_shape(prepare, jax.ShapeDtypeStruct(raw.shape[1:], raw.dtype))
        self.shape, self.ndim = (len(raw), *batch.shape), 1 + len(batch.shape)
        self.dtype = batch.dtype

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, index: Any) -> jax.Array:
        return jnp.asarray(self._prepare(jnp.asarray(self._raw[index])))

    def __iter__(self) -> Iterator[jax.Array]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.asarray(self[:], dtype)


def score_batches(
    key: Key,
    labels: np.ndarray | int,
    take: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    num_examples: int,
    batch_size: int,
    prepare: Callable[[Array], Array],
    balanced: bool = False,
) -> Batch:
    """``num_examples`` random training examples without replacement, as ``Batch`` ``[n, B, ...]``,
    prepared when they are taken.

    Args:
      labels: integers ``[N]``, or ``N`` alone where they are known only with the images.
      take: ``take(index [n]) -> (x uint8 [n, H, W, C], y [n, ...])``.
      prepare: turns uint8 images into float ones, see ``augment.normalise``.
      balanced: take the same number of every class, one class after the other in turn, so that
        batches of whole rounds are balanced too.

    Raises ValueError when ``num_examples`` is not a multiple of ``batch_size``, or not available,
    or (``balanced``) not a multiple of the number of classes.
    """
    available = labels if isinstance(labels, int) else len(labels)
    if num_examples < 1 or batch_size < 1 or num_examples % batch_size:
        raise ValueError(
            f"num_examples {num_examples} is not a multiple of batch_size {batch_size}"
        )
    if num_examples > available:
        raise ValueError(
            f"num_examples {num_examples} is more than the {available} training examples"
        )
    if not balanced:
        index = np.asarray(jax.random.permutation(key, available))[:num_examples]
    elif isinstance(labels, int):
        raise ValueError(
            "balanced: the labels are not known before the images are read; turn it off"
        )
    else:
        index = _balanced_index(key, np.asarray(labels), num_examples)
    x, y = take(index)
    shape = num_examples // batch_size, batch_size
    return Batch(
        Prepared(x.reshape(*shape, *x.shape[1:]), prepare),
        jnp.asarray(y, jnp.int32).reshape(*shape, *y.shape[1:]),
    )


def _balanced_index(key: Key, y: np.ndarray, num_examples: int) -> np.ndarray:
    """``num_examples`` indices into ``y`` that go through the classes in turn."""
    classes, counts = np.unique(y, return_counts=True)
    if num_examples % len(classes):
        raise ValueError(
            f"balanced: num_examples {num_examples} is not a multiple of {len(classes)} classes"
        )
    each = num_examples // len(classes)
    if counts.min() < each:
        scarce = classes[counts.argmin()]
        raise ValueError(
            f"balanced: {each} examples a class wanted, class {scarce} has {counts.min()}"
        )
    keys = jax.random.split(key, len(classes))
    chosen = [
        np.flatnonzero(y == c)[np.asarray(jax.random.permutation(k, count))[:each]]
        for k, c, count in zip(keys, classes, counts.tolist(), strict=True)
    ]
    return np.stack(chosen, axis=1).ravel()
