"""One run over several processes: who they are, and which files each of them writes.

All processes run one program on the same numbers. Process 0 owns the run directory. Each of the
others works on a copy of it as it was at the start, in a temporary directory that is removed at
the end, so that all of them see the same files and decide alike.
"""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments import lifeline
from experiments.errors import UserError

VARIABLE = "NTK_PRUNE_HOSTS"
TIMEOUT = 300


class Hosts(NamedTuple):
    """Which process this is of how many, and where the first one listens.

    ``coordinator`` is None under Slurm, which knows it. ``timeout`` is in seconds.
    """

    coordinator: str | None
    process: int
    count: int
    timeout: int = TIMEOUT


def choose(text: str | None, environment: Mapping[str, str]) -> Hosts | None:
    """The processes of this run; None for one alone.

    Args:
        text: ``auto`` (None is the variable ``NTK_PRUNE_HOSTS``, or else ``auto``): those of the
            Slurm step, one alone elsewhere; ``one``; or ``ADDRESS:PORT,PROCESS,COUNT[,SECONDS]``.
        environment: ``os.environ``.

    >>> choose("node1:4321,1,2", {})
    Hosts(coordinator='node1:4321', process=1, count=2, timeout=300)
    >>> choose("auto", {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"})
    Hosts(coordinator=None, process=3, count=4, timeout=300)
    """
    text = text or environment.get(VARIABLE) or "auto"
    if text == "one":
        return None
    if text == "auto":
        count = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
        return Hosts(None, int(environment["SLURM_PROCID"]), count) if count > 1 else None
    address, *numbers = text.split(",")
    _, _, port = address.rpartition(":")
    are_numbers = all(n.isascii() and n.isdecimal() for n in (port, *numbers))
    if not are_numbers or len(numbers) not in (2, 3) or int(numbers[0]) >= int(numbers[1]):
        raise UserError(
            f"--hosts: {text!r} is none of auto, one and ADDRESS:PORT,PROCESS,COUNT[,SECONDS] "
            "with PROCESS below COUNT"
        )
    return Hosts(address, *map(int, numbers))


@contextlib.contextmanager
def joined(hosts: Hosts | None, workdir: Path) -> Iterator[Path]:
    """Meet the other processes. Yields the directory to work in.

    UserError where they do not come within the timeout. All but process 0 print nothing inside.
    """
    if hosts is None:
        yield workdir
        return
    _initialize(hosts)
    with (
        lifeline.tied(hosts.process, hosts.count, hosts.timeout),
        _own_directory(hosts, workdir) as own,
    ):
        yield own


@contextlib.contextmanager
def _own_directory(hosts: Hosts, workdir: Path) -> Iterator[Path]:
    """The run directory, or for all but process 0 a copy; nobody writes before all have one."""
    if hosts.process == 0:
        _wait("copied")
        yield workdir
        return
    with tempfile.TemporaryDirectory(prefix="ntk_prune_") as folder, open(os.devnull, "w") as null:
        copy = Path(folder) / "run"
        with contextlib.suppress(FileNotFoundError):
            shutil.copytree(workdir, copy, ignore=shutil.ignore_patterns(".lock", ".stage"))
        _wait("copied")
        with contextlib.redirect_stdout(null):
            yield copy


def leave(status: int) -> None:
    """End this process without waiting for the others, which may be lost."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _initialize(hosts: Hosts) -> None:
    # JAX's notifier of preemption would swallow SIGTERM.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    arguments: dict[str, Any] = {
        "initialization_timeout": hosts.timeout + 60,
        "heartbeat_timeout_seconds": min(hosts.timeout, 100),
        "shutdown_timeout_seconds": hosts.timeout,
    }
    if hosts.coordinator is not None:
        if hosts.process > 0:
            _reach(hosts.coordinator, hosts.timeout)
        arguments |= {
            "coordinator_address": hosts.coordinator,
            "num_processes": hosts.count,
            "process_id": hosts.process,
        }
    # JAX waits without a look at signals and ends with a stack trace: another thread lets it.
    errors: list[Exception] = []

    def meet() -> None:
        try:
            jax.distributed.initialize(**arguments)
        except Exception as error:
            errors.append(error)

    waiting = threading.Thread(target=meet, daemon=True)
    waiting.start()
    waiting.join(hosts.timeout)
    if waiting.is_alive() or errors:
        reason = f" ({str(errors[0]).splitlines()[0]})" if errors else ""
        raise UserError(
            f"--hosts: the {hosts.count} processes did not meet in {hosts.timeout} s{reason}"
        )


def _reach(address: str, timeout: int) -> None:
    """Wait until process 0 listens; JAX would end the process with a stack trace."""
    host, _, port = address.rpartition(":")
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host.strip("[]"), int(port)), timeout=min(timeout, 5)),
        ):
            return
        time.sleep(0.2)
    raise UserError(f"--hosts: process 0 does not listen at {address} after {timeout} s")


def _wait(name: str) -> None:
    """Wait for all processes."""
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(f"ntk_prune_{name}")
