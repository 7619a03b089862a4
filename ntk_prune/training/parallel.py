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
from ntk_prune.types import Array

AXIS = "data"
Devices = Sequence[Any] | None  # of jax.Device; None = all
PARALLEL = ("pmap", "jit")


class Distributed(NamedTuple):
    """A training step spread over devices.

    ``replicate(tree)`` puts a tree on every device. ``take(x, y, rows [K, B])`` gathers ``K``
    global batches from replicated arrays, each device its own share. ``step(state, batches)``
    makes those ``K`` steps in one dispatch and returns metrics of shape ``[K]``; the state passed
    in is donated, that is, gone.
    """

    replicate: Callable[[Any], Any]
    take: Callable[[Array, Array, ArrayLike], Examples]
    step: Callable[[TrainState, Examples], tuple[TrainState, Metrics]]
    num_devices: int
    steps_per_call: int


def data_mesh(devices: Devices = None) -> Mesh:
    """The devices (default: all) in a row, along the axis of the batch."""
    devices = jax.devices() if devices is None else devices
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """``tree`` on every device; may share memory with the original."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def default_steps_per_call(backend: str) -> int:
    """Steps per dispatch: 1 on "cpu", where convolutions inside a scan are slow, else 16."""
    return 1 if backend == "cpu" else 16


def check_batch_size(batch_size: int, num_devices: int) -> None:
    """Raise ValueError unless the global batch divides evenly among the devices."""
    if batch_size % num_devices:
        raise ValueError(
            f"the batch size {batch_size} does not divide among {num_devices} devices; "
            f"take {max(batch_size // num_devices, 1) * num_devices} or use fewer devices"
        )


def distribute(
    train_step: TrainStep,
    parallel: str = "pmap",
    devices: Devices = None,
    steps_per_call: int | None = None,
) -> Distributed:
    """Spread ``train_step`` over ``devices`` (default: all), the batch in equal shares.

    Args:
        train_step: From ``make_train_step``.
        parallel: ``"pmap"``, for one process; ``"jit"``, which also serves several hosts.
        devices: Which devices; the numbers do not depend on how many.
        steps_per_call: Steps per dispatch; default by backend.
    """
    if parallel not in PARALLEL:
        raise ValueError(f"unknown parallel {parallel!r}; choose one of {', '.join(PARALLEL)}")
    if parallel == "pmap" and jax.process_count() > 1:
        raise ValueError("parallel='pmap' serves one process; use parallel='jit' on several hosts")
    mesh = data_mesh(devices)
    take, step = (_pmap if parallel == "pmap" else _jit)(train_step, mesh)
    return Distributed(
        replicate=functools.partial(replicate, mesh),
        take=take,
        step=step,
        num_devices=mesh.size,
        steps_per_call=steps_per_call or default_steps_per_call(mesh.devices.flat[0].platform),
    )


def _pmap(train_step: TrainStep, mesh: Mesh):
    step = jax.pmap(
        _several(train_step, AXIS),
        axis_name=AXIS,
        in_axes=(None, 0),
        out_axes=(None, None),
        donate_argnums=(0,),
        devices=mesh.devices.tolist(),
    )
    return _take(mesh, PartitionSpec(AXIS), split=mesh.size), step


def _jit(train_step: TrainStep, mesh: Mesh):
    spec = PartitionSpec(None, AXIS)
    everywhere = NamedSharding(mesh, PartitionSpec())
    step = jax.jit(
        _several(train_step, None),
        in_shardings=(everywhere, NamedSharding(mesh, spec)),
        out_shardings=(everywhere, everywhere),
        donate_argnums=(0,),
    )
    return _take(mesh, spec, split=None), step


def _several(train_step: TrainStep, axis_name: str | None):
    """``K`` steps over batches ``[K, ...]``; one step alone is not wrapped in a scan."""

    def steps(state: TrainState, batches: Examples) -> tuple[TrainState, Metrics]:
        if len(batches.y) == 1:
            state, metrics = train_step(state, jax.tree.map(lambda b: b[0], batches), axis_name)
            return state, jax.tree.map(lambda m: m[None], metrics)
        return jax.lax.scan(lambda s, b: train_step(s, b, axis_name), state, batches)

    return steps


def _take(mesh: Mesh, spec: PartitionSpec, split: int | None):
    """``take`` laid out ``[K, B, ...]``, or ``[split, K, B / split, ...]`` for pmap."""

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, spec))
    def gather(x: Array, y: Array, rows: Array) -> Examples:
        index = jnp.broadcast_to(jnp.arange(rows.shape[1]), rows.shape)
        if split is not None:
            rows, index = (a.reshape(len(a), split, -1).swapaxes(0, 1) for a in (rows, index))
        return Examples(x[rows], y[rows], index)

    def take(x: Array, y: Array, rows: ArrayLike) -> Examples:
        check_batch_size(np.shape(rows)[1], mesh.size)
        return gather(x, y, rows)

    return take
