"""Where and with what a run is made: its ``env.json``."""

import contextlib
import datetime
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("ntk_prune", "jax", "jaxlib", "flax", "optax", "numpy", "neural-tangents", "matfree")

_JOB_VARIABLES = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "PBS_JOBID",
    "LSB_JOBID",
    "JOB_ID",
)


@functools.cache
def this_process() -> dict[str, Any]:
    """Which process this is: host, number, first use, and the job of a cluster."""
    jobs = {name: os.environ[name] for name in _JOB_VARIABLES if name in os.environ}
    return {"host": platform.node(), "pid": os.getpid(), "time": now(), "job": jobs}


def now() -> str:
    """The date and time of this second, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Where and with what a run was made."""
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    devices = jax.devices()
    return {
        "command": sys.argv,
        "started": this_process(),
        "processes": jax.process_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "backend": jax.default_backend(),
        "devices": [d.device_kind for d in devices],
        "versions": versions,
        "commit": _commit(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "heap": os.environ.get("GLIBC_TUNABLES", ""),
        "compilation_cache": getattr(jax.config, "jax_compilation_cache_dir", None),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    """The git commit of this checkout, with ``+`` when it has uncommitted changes."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
