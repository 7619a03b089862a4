"""A kernel built block by block: chunks of examples, on one or several devices, in bounded memory.

Row features of a group of chunks stay resident while column features stream past them. The rows
are dealt out over the devices; each block is computed where its row features are, by the same
program whatever the number of devices.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ntk_prune.ntk import inputs
from ntk_prune.ntk.backends.cost import Cost
from ntk_prune.ntk.backends.plan import Plan
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.progress import Progress
from ntk_prune.types import Array

Variables = tuple[Any, Any]  # parameters (masked) and state


class Engine(NamedTuple):
    """A way to compute blocks.

    Attributes:
        plan: What is differentiated.
        cost: What it costs, and the chunk size.
        row_features: ``(variables, x chunk) -> features`` of a chunk of rows.
        column_features: The same for columns; None where they are the same features.
        product: ``product(variables, row features, column features) -> block``, as
            ``[c, m, d, m]`` or, for ``outputs="trace"``, ``[c, d]``.
        dtype: Of the kernel.
    """

    plan: Plan
    cost: Cost
    row_features: Callable[[Variables, Inputs], Any]
    column_features: Callable[[Variables, Inputs], Any] | None
    product: Callable[[Variables, Any, Any], Array]
    dtype: np.dtype


def inputs_alone(_: Variables, x: Inputs) -> Inputs:
    """The features of a backend that needs nothing but the inputs."""
    return x


def compute(
    engine: Engine,
    variables: Variables,
    x1: Inputs,
    x2: Inputs | None,
    devices: Sequence[Any],
    progress: bool | None,
    into: np.ndarray | None = None,
) -> np.ndarray:
    """The whole kernel on the host; the upper half only, and its mirror image, without ``x2``.

    ``into``: an array of its size and type in which it is built, such as a file in memory.
    """
    chunk, symmetric = engine.cost.chunk, x2 is None
    rows = _chunks(x1, chunk)
    columns = rows if x2 is None else _chunks(x2, chunk)
    n1 = inputs.count(x1)
    n2 = n1 if x2 is None else inputs.count(x2)
    kernel = _Kernel(n1, n2, chunk, engine.plan, symmetric, engine.dtype, into)
    placed = [jax.device_put(variables, device) for device in devices]
    group = math.ceil(engine.cost.resident / chunk)
    total = len(rows) * (len(rows) + 1) // 2 if symmetric else len(rows) * len(columns)

    def features(of: Callable, chunks: list, index: int):
        device = index % len(devices)
        return of(placed[device], jax.device_put(chunks[index], devices[device]))

    def block(r: int, row, column) -> Array:
        device = r % len(devices)
        return engine.product(placed[device], row, jax.device_put(column, devices[device]))

    of_columns = engine.column_features or engine.row_features
    with Progress(total, "kernel", "block", progress, leave=False) as bar:
        for members in _groups(len(rows), group):
            held = {}
            for r in members:
                held[r] = features(engine.row_features, rows, r)
                if r % len(devices) == len(devices) - 1:  # as many chunks in flight as devices
                    jax.block_until_ready(held[r])
            for c in range(members[0] if symmetric else 0, len(columns)):
                reuse = symmetric and engine.column_features is None and c in held
                column = held[c] if reuse else features(of_columns, columns, c)
                pairs = [r for r in members if not symmetric or r <= c]
                blocks = [block(r, held[r], column) for r in pairs]
                for r, values in zip(pairs, blocks, strict=True):
                    kernel.put(r, c, np.asarray(values))
                    bar.update()
    return kernel.values


class _Kernel:
    """The kernel under construction; a block also fills its mirror image when symmetric."""

    def __init__(
        self,
        n1: int,
        n2: int,
        chunk: int,
        plan: Plan,
        symmetric: bool,
        dtype: np.dtype,
        into: np.ndarray | None,
    ):
        self.outputs, self.chunk, self.symmetric = plan.outputs, chunk, symmetric
        self.shape = (n1, n2) + ((plan.sizes.num_outputs,) * 2 if plan.outputs == "full" else ())
        self.values = np.empty(self.shape, dtype) if into is None else into.reshape(self.shape)

    def put(self, r: int, c: int, block: np.ndarray) -> None:
        """Write the block of row chunk ``r`` and column chunk ``c``."""
        block = arranged(block, self.outputs)
        i, j = r * self.chunk, c * self.chunk
        block = block[: self.shape[0] - i, : self.shape[1] - j]
        if self.symmetric and r == c:  # both triangles were computed: make them agree exactly
            block = (block + _mirror(block)) / 2
        self.values[i : i + block.shape[0], j : j + block.shape[1]] = block
        if self.symmetric and r != c:
            self.values[j : j + block.shape[1], i : i + block.shape[0]] = _mirror(block)


def arranged(block: Any, outputs: str) -> Any:
    """An engine's block ``[c, m, d, m]`` as ``[c, d, m, m]`` in full, else as ``[c, d]``."""
    if outputs == "full":
        return block.transpose(0, 2, 1, 3)
    return block if outputs == "trace" else block[:, 0, :, 0]


def _mirror(block: np.ndarray) -> np.ndarray:
    """``K[j, i, l, k]`` of ``K[i, j, k, l]``."""
    return block.transpose(1, 0, 3, 2) if block.ndim == 4 else block.T


def _groups(num_chunks: int, size: int) -> Iterator[range]:
    """Consecutive ranges of at most ``size`` chunks."""
    for start in range(0, num_chunks, size):
        yield range(start, min(start + size, num_chunks))


def _chunks(x: Inputs, size: int) -> list[Inputs]:
    """Chunks of exactly ``size`` examples; the last is filled up with its last example."""
    host = jax.tree.map(np.asarray, x)
    number = inputs.count(host)
    parts = [inputs.take(host, slice(i, i + size)) for i in range(0, number, size)]
    missing = size - inputs.count(parts[-1])
    parts[-1] = jax.tree.map(
        lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], missing, axis=0)]), parts[-1]
    )
    return parts
