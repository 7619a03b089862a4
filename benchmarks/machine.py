"""What the machine can do: the roof that the other benchmarks are measured against."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp


def seconds(function: Callable[[], Any], repeats: int) -> float:
    """The fastest of ``repeats`` timed calls, after one that compiles."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - start)
    return min(times)


def matrix_product_peak(n: int = 2048, repeats: int = 10) -> float:
    """Measured float32 FLOP/s of an ``n x n`` matrix product, in full precision."""
    a = jax.random.normal(jax.random.key(0), (n, n))
    product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
    return 2 * n**3 / seconds(lambda: product(a), repeats)


def describe() -> str:
    """The processor or accelerator, in one line."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{len(jax.devices())} x {device.device_kind}, jax {jax.__version__}"
    lines = Path("/proc/cpuinfo").read_text().splitlines() if os.name == "posix" else []
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return (
        f"{os.cpu_count()} cores of {(names or [platform.processor()])[0]}, jax {jax.__version__}"
    )
