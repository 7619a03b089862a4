"""The same training step on one device or many: ``pmap``, or ``jit`` with shardings."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from ntk_prune.training.state import TrainState
from ntk_prune.training.step import Examples, Metrics, TrainStep
from ntk_prune.types import Array, Key

AXIS = "data"
Devices = Sequence[Any] | None  # of jax.Device; None = all
PARALLEL = ("pmap", "jit")


class Distributed(NamedTuple):
    """A training step spread over devices.

    ``replicate(tree)`` puts a tree on every device. ``take(x, y, rows [K, B], key)`` gathers ``K``
    global batches from replicated arrays, each device its own share; ``put(x [K, B, ...],
    y [K, B, ...], key)`` sends batches from the host. ``step(state, batches)`` makes those ``K``
    steps in one dispatch and returns metrics of shape ``[K]``; the state passed in is donated,
    that is, gone.

    With ``replicates = R`` everything but the data has one more axis: states ``[R, ...]``, rows
    ``[K, R, B]``, keys ``[R]``, metrics ``[K, R]``.
    """

    replicate: Callable[[Any], Any]
    take: Callable[[Array, Array, ArrayLike, Key], Examples]
    put: Callable[[Array, Array, Key], Examples]
    step: Callable[[TrainState, Examples], tuple[TrainState, Metrics]]
    num_devices: int
    steps_per_call: int


def data_mesh(devices: Devices = None) -> Mesh:
    """The devices (default: all) in a row, along the axis of the batch."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """``tree`` on every device; may share memory with the original."""
    return place(tree, jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), tree))


def place(tree: Any, shardings: Any) -> Any:
    """``jax.device_put``; of several processes, which all hold the tree, each places its part."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)
    return jax.tree.map(_place_part, tree, shardings)


def _place_part(leaf: Any, sharding: NamedSharding) -> Any:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _place_part(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])


def local(tree: Any) -> Any:
    """A replicated tree on one device of this process where there are several processes.

    There every operation on the tree itself would wait for the others. The memory is shared.
    """
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def default_steps_per_call(backend: str) -> int:
    """Steps per dispatch: 1 on "cpu", where convolutions inside a scan are slow, else 16."""
    return 1 if backend == "cpu" else 16


def check_batch_size(batch_size: int, num_devices: int) -> None:
    """Raise ValueError unless the global batch divides evenly among the devices."""
    if batch_size % num_devices:
        raise ValueError(
            f"batch_size {batch_size} does not divide among {num_devices} devices; "
            f"take {max(batch_size // num_devices, 1) * num_devices} or use fewer devices"
        )


def distribute(
    train_step: TrainStep,
    parallel: str = "pmap",
    devices: Devices = None,
    steps_per_call: int | None = None,
    replicates: int | None = None,
) -> Distributed:
    """Spread ``train_step`` over ``devices`` (default: all), the batch in equal shares.

    Args:
        train_step: From ``make_train_step``.
        parallel: ``"pmap"``, for one process; ``"jit"``, which also serves several hosts.
        devices: Which devices; the numbers do not depend on how many.
        steps_per_call: Steps per dispatch; default by backend.
        replicates: Train this many networks at once, as one program.
    """
    if parallel not in PARALLEL:
        raise ValueError(f"unknown parallel {parallel!r}; choose one of {', '.join(PARALLEL)}")
    if parallel == "pmap" and jax.process_count() > 1:
        raise ValueError("parallel='pmap' serves one process; use parallel='jit' on several hosts")
    mesh = data_mesh(devices)
    batch_axis = 1 if replicates is None else 2
    if replicates is not None:
        train_step = _of_several(train_step, mesh.devices.flat[0].platform)
    if parallel == "pmap":
        step, layout = _pmap(train_step, mesh), _Layout(mesh, batch_axis, split=mesh.size)
    else:
        layout = _Layout(mesh, batch_axis, split=None)
        step = _jit(train_step, mesh, layout.shardings)
    return Distributed(
        replicate=functools.partial(replicate, mesh),
        take=layout.take,
        put=layout.put,
        step=step,
        num_devices=mesh.size,
        steps_per_call=steps_per_call or default_steps_per_call(mesh.devices.flat[0].platform),
    )


def _of_several(train_step: TrainStep, platform: str) -> TrainStep:
    """The step of several networks; the name of the device axis is the same for all.

    They are mapped; but on a CPU networks with convolutions stand side by side in the program:
    there XLA has no fast form of a convolution whose kernel is mapped, nor of one inside a loop.
    """

    def steps(state: TrainState, batch: Examples, axis_name: str | None):
        def step(of_one: tuple[TrainState, Examples]) -> tuple[TrainState, Metrics]:
            return train_step(*of_one, axis_name)

        kernels = [leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim > 3]
        if platform != "cpu" or not kernels:
            return jax.vmap(step)((state, batch))
        each = [jax.tree.map(lambda a, i=i: a[i], (state, batch)) for i in range(len(batch.y))]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(step, each))

    return steps


def _pmap(train_step: TrainStep, mesh: Mesh):
    return jax.pmap(
        _several(train_step, AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        donate_argnums=(0,),
        devices=mesh.devices.tolist(),
    )


def _jit(train_step: TrainStep, mesh: Mesh, batches: Any):
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.jit(
        _several(train_step, None),
        in_shardings=(everywhere, batches),
        out_shardings=(everywhere, everywhere),
        donate_argnums=(0,),
    )


def _several(train_step: TrainStep, axis_name: str | None):
    """``K`` steps over batches ``[K, ...]``; one step alone is not wrapped in a scan."""

    def steps(state: TrainState, batches: Examples) -> tuple[TrainState, Metrics]:
        if len(batches.y) == 1:
            state, metrics = train_step(state, jax.tree.map(lambda b: b[0], batches), axis_name)
            return state, jax.tree.map(lambda m: m[None], metrics)
        return jax.lax.scan(lambda s, b: train_step(s, b, axis_name), state, batches)

    return steps


class _Layout:
    """Batches with ``batch_axis`` shared among the devices, or (``split``) moved to the front."""

    def __init__(self, mesh: Mesh, batch_axis: int, split: int | None):
        self.mesh, self.batch_axis, self.split = mesh, batch_axis, split
        before = () if split else (None,) * batch_axis
        shared = NamedSharding(mesh, PartitionSpec(*before, AXIS))
        key = shared if split else NamedSharding(mesh, PartitionSpec())
        shardings: Any = (shared, shared, shared, key)
        self.shardings = Examples(*shardings)
        self._gather = jax.jit(self._gathered, out_shardings=self.shardings)

    def take(self, x: Array, y: Array, rows: ArrayLike, key: Key) -> Examples:
        check_batch_size(np.shape(rows)[-1], self.mesh.size)
        return self._gather(x, y, rows, key)

    def put(self, x: Array, y: Array, key: Key) -> Examples:
        check_batch_size(x.shape[self.batch_axis], self.mesh.size)
        index = np.broadcast_to(np.arange(x.shape[self.batch_axis]), x.shape[: self.batch_axis + 1])
        x, y, index = (self._shares(a) for a in (x, y, index))
        return place(Examples(x, y, index, self._keys(key, index)), self.shardings)

    def _gathered(self, x: Array, y: Array, rows: Array, key: Key) -> Examples:
        index = self._shares(jnp.broadcast_to(jnp.arange(rows.shape[-1]), rows.shape))
        rows = self._shares(rows)
        return Examples(x[rows], y[rows], index, self._keys(key, index))

    def _keys(self, key: Key, index: Array) -> Key:
        """One for every batch: the shape of ``index`` without its last axis."""
        return jnp.broadcast_to(key, index.shape[:-1])

    def _shares(self, a):
        """``[..., B, ...] -> [split, ..., B / split, ...]``."""
        if self.split is None:
            return a
        axis = self.batch_axis
        a = a.reshape(*a.shape[:axis], self.split, -1, *a.shape[axis + 1 :])
        return a.transpose(axis, *(i for i in range(a.ndim) if i != axis))
