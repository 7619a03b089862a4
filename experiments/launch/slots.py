"""How the cores and accelerators of this machine are shared among cells that run at once."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Slot(NamedTuple):
    """What one cell at a time may use: ``cores`` (None: all) and variables of its environment."""

    cores: tuple[int, ...] | None
    environment: Mapping[str, str]


def slots(workers: int | None, accelerators: Sequence[str] | None = None) -> list[Slot]:
    """As many slots as workers; by default one for every accelerator, or one for all cores.

    Slots have their own cores, and their own accelerators where there are enough; otherwise those
    on one accelerator share its memory.

    Args:
        workers: How many cells run at once.
        accelerators: The indices of GPUs; None: those that CUDA shows.
    """
    gpus = visible_gpus() if accelerators is None else list(accelerators)
    count = workers or max(1, len(gpus))
    if count == 1:
        return [Slot(None, {})]
    cores = _shares(sorted(_available_cores()), count)
    if not gpus:
        return [Slot(tuple(own), {}) for own in cores]
    shared = -(-count // len(gpus))  # slots on one GPU
    memory = {} if shared == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / shared:.3f}"}
    return [
        Slot(tuple(own), {"CUDA_VISIBLE_DEVICES": ",".join(devices), **memory})
        for own, devices in zip(cores, _shares(gpus, count), strict=True)
    ]


def _shares(items: Sequence[Item], count: int) -> list[list[Item]]:
    """The items dealt out; the same one several times where there are too few."""
    if len(items) < count:
        return [[items[i % len(items)]] for i in range(count)]
    return [list(items[i::count]) for i in range(count)]


def _available_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def visible_gpus() -> list[str]:
    """The NVIDIA devices that a process started here would see. JAX itself is not asked: it would
    take their memory."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device for device in visible.split(",") if device not in ("", "-1")]
    try:
        query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []
