"""What a kernel will cost, counted before it is run, and the chunk size that follows from it."""

import contextlib
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ntk_prune.ntk.backends.plan import Plan


class Cost(NamedTuple):
    """The counted cost of one kernel: floating-point operations (a multiply-add is two) and bytes.

    Attributes:
        backend: Which way of computing it.
        chunk: Examples differentiated at a time.
        resident: Examples whose features are held at a time.
        flops_backward: Forward and backward passes, with recomputation where not all fits.
        flops_product: The contraction of the features.
        bytes_kernel: The result.
        bytes_features: Features of the resident examples.
        bytes_working: Everything else that is alive while a chunk is differentiated.
        coordinates: Weights in which the kernel is taken, after pruning.
    """

    backend: str
    chunk: int
    resident: int
    flops_backward: float
    flops_product: float
    bytes_kernel: int
    bytes_features: int
    bytes_working: int
    coordinates: int

    @property
    def flops(self) -> float:
        """All floating-point operations."""
        return self.flops_backward + self.flops_product

    @property
    def bytes(self) -> int:
        """Estimated peak memory."""
        return self.bytes_kernel + self.bytes_features + self.bytes_working

    def __str__(self) -> str:
        return (
            f"{self.backend}: {self.flops / 1e9:.4g} GFLOP ({self.flops_backward / 1e9:.4g} "
            f"backward, {self.flops_product / 1e9:.4g} product, {self.coordinates} coordinates), "
            f"{readable(self.bytes)} peak (kernel {readable(self.bytes_kernel)}, features "
            f"{readable(self.bytes_features)}, working {readable(self.bytes_working)}), "
            f"chunks of {self.chunk}, {self.resident} examples held"
        )


def readable(size: float) -> str:
    """A number of bytes with a unit.

    >>> readable(3 * 2**30)
    '3.0 GiB'
    """
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def available_memory(device: Any) -> float:
    """Bytes that may be used now: the accelerator's free memory, or the host's."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except OSError:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(free, _control_group_memory())


def _control_group_memory(folder: str = "/sys/fs/cgroup") -> float:
    """Bytes that the control group of this process (a container, a job of a cluster) may still
    take; infinite without a limit. Cached files that are not in use count as free."""
    for part, limit, used, cached in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        group = Path(folder) / part
        with contextlib.suppress(OSError, ValueError, KeyError):  # another version, or "max"
            most, taken = (int((group / name).read_text()) for name in (limit, used))
            lines = (group / "memory.stat").read_text().splitlines()
            return most - taken + int(dict(line.split() for line in lines)[cached])
    return math.inf


class Budget(NamedTuple):
    """The frame of a computation: sizes, a chunk that was asked for, bytes allowed, result type."""

    n1: int
    n2: int | None  # None: the symmetric kernel
    chunk: int | None
    limit: int
    dtype: np.dtype
    platform: str

    @property
    def columns(self) -> int:
        """Columns of inputs, whether given or the same as the rows."""
        return self.n1 if self.n2 is None else self.n2

    def kernel_bytes(self, plan: Plan) -> int:
        """Size of the result."""
        entries = plan.sizes.num_outputs**2 if plan.outputs == "full" else 1
        return self.n1 * self.columns * entries * self.dtype.itemsize

    def chunk_for(self, kernel: int, need: int, usual: int) -> int:
        """The chunk asked for or the ``usual`` one, cut down to what fits beside the kernel.

        Raises MemoryError when not even one example, of ``need`` bytes, fits.
        """
        room = self.limit - kernel
        if room < need:
            raise MemoryError(
                f"this kernel needs {readable(kernel)} for itself and at least {readable(need)} to "
                f"compute it, of {readable(self.limit)} allowed: take fewer inputs, outputs='trace'"
                " or 'class:k' instead of 'full', or the matrix-free ntk_prune.ntk.ntk_operator"
            )
        return min(self.chunk or usual, max(self.n1, self.columns), room // max(need, 1))

    def pairs(self, chunk: int) -> float:
        """Pairs of examples whose block is computed."""
        return self.n1 * (self.n1 + chunk) / 2 if self.n2 is None else self.n1 * self.n2


def feature_cost(backend: str, plan: Plan, width: int, budget: Budget) -> Cost:
    """Cost of features and their products, with as many examples resident as fit.

    ``width`` is the number of bytes of a feature. Raises MemoryError when the kernel, or a single
    example, does not fit.
    """
    features, working, flops = _example_sizes(plan, width)
    kernel = budget.kernel_bytes(plan)
    # besides the resident rows one streamed chunk of columns is alive, in features and working
    usual = 8 if budget.platform == "cpu" else 128  # on a CPU, what stays in its caches
    chunk = budget.chunk_for(kernel, 2 * features + working, usual)
    room = budget.limit - kernel - chunk * (working + features)
    chunks = max(1, room // max(1, chunk * features))
    resident = min(math.ceil(budget.n1 / chunk), chunks) * chunk
    streamed = 0 if budget.n2 is None and resident >= budget.n1 else chunk * features
    return Cost(
        backend=backend,
        chunk=chunk,
        resident=resident,
        flops_backward=_differentiated(budget, resident) * flops,
        flops_product=budget.pairs(chunk) * _pair_flops(plan),
        bytes_kernel=kernel,
        bytes_features=resident * features + streamed,
        bytes_working=chunk * working,
        coordinates=plan.num_kept,
    )


def _example_sizes(plan: Plan, width: int) -> tuple[int, int, float]:
    """Bytes of features, bytes of working memory and backward operations of one example."""
    m, forward = plan.sizes.num_cotangents, plan.sizes.forward_flops
    apart = [layer for layer in plan.layers if not layer.factored]
    joint = [layer for layer in plan.layers if layer.factored]
    factors = sum(e.positions * (e.inputs + m * e.outputs) for e in joint)
    jacobians = m * (plan.num_kept - sum(e.num_kept for e in joint))
    largest = max((e.inputs * (m * e.outputs + e.positions) for e in apart), default=0)
    weights = sum(2 * m * e.positions * e.inputs * e.outputs for e in apart)
    passes = (1 + m) * forward + weights if plan.tapped else (1 + 2 * m) * forward
    return (
        width * (factors + jacobians),
        width * (2 * plan.sizes.backward_elements + largest),
        passes,
    )


def _pair_flops(plan: Plan) -> float:
    """Operations to contract the features of one pair of examples."""
    trace, m = plan.outputs == "trace", plan.sizes.num_cotangents
    pairs = m if trace else m * m
    products = sum(
        layer.joint_products if layer.factored else pairs * layer.num_kept for layer in plan.layers
    )
    return 2.0 * (products + pairs * plan.num_untapped)


def _differentiated(budget: Budget, resident: int) -> int:
    """How many examples are differentiated in all, counting those done again."""
    starts = range(0, budget.n1, resident)
    if budget.n2 is None:
        return sum(budget.n1 - start for start in starts)
    return budget.n1 + len(starts) * budget.n2
