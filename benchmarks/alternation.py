"""Ways of doing one work, each in a process of its own, timed in turn: all see the same machine.

Needs the standard library only, as a way may run in a Python that has nothing else.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def peak_memory() -> int:
    """Peak resident bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def serve(
    compute: Callable[[], Any],
    numbers: Callable[[Any], Sequence[float]] = list,
    flops: float | None = None,
    start: int | None = None,
) -> None:
    """Answer each line of standard input with one timed repeat, as JSON.

    Args:
        compute: Does the work.
        numbers: Of its result, by which the ways are compared; outside of the time.
        flops: Its counted operations.
        start: The peak memory before the work; None: now.
    """
    start = peak_memory() if start is None else start
    first = [float(number) for number in numbers(compute())]  # compiles
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        compute()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        memory = peak_memory() - start
        answer = {"wall": wall, "cpu": cpu, "memory": memory, "flops": flops, "numbers": first}
        print(json.dumps(answer), flush=True)


class Worker:
    """A process that does the work in one way, one repeat at a time."""

    def __init__(self, way: str, command: Sequence[str], environment: dict[str, str] | None = None):
        self.way, self.answers = way, []
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | {"OMP_WAIT_POLICY": "passive"} | (environment or {}),  # nobody spins
        )

    def repeat(self) -> bool:
        """Run once; False when the process has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
            self.answers.append(json.loads(self.process.stdout.readline()))
        except (BrokenPipeError, json.JSONDecodeError):
            return False
        return True

    def best(self) -> dict:
        """The fastest repeat."""
        return min(self.answers, key=lambda answer: answer["wall"])

    def median(self, what: str) -> float:
        """The median of ``wall``, ``cpu`` or ``memory`` over the repeats."""
        return statistics.median(answer[what] for answer in self.answers)

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait()


def alternate(workers: Iterable[Worker], repeats: int) -> list[Worker]:
    """Let each repeat in turn and end them all; those that died are left out with a note."""
    workers = list(workers)
    for _ in range(repeats):
        for worker in list(workers):
            if not worker.repeat():
                print(f"{worker.way} died", file=sys.stderr)
                worker.close()
                workers.remove(worker)
    for worker in workers:
        worker.close()
    return workers


def check_equal(workers: Sequence[Worker], relative: float) -> None:
    """Raise SystemExit where a way has other numbers than the first, of whose largest it is off."""
    reference, *others = [worker.answers[0]["numbers"] for worker in workers]
    scale = max(map(abs, reference))
    for worker, numbers in zip(workers[1:], others, strict=True):
        error = max(abs(a - b) for a, b in zip(reference, numbers, strict=True)) / scale
        if not error <= relative:
            sys.exit(f"{worker.way} computes something else than {workers[0].way}: off by {error}")
