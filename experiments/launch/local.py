"""Cells as processes of this machine, several at a time. A cell that crashes costs one cell."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from tqdm import tqdm

from experiments.errors import UserError
from experiments.hosts import VARIABLE
from experiments.launch.cells import Cell
from experiments.launch.slots import Slot
from experiments.launch.states import Ledger, is_finished
from experiments.signals import SIGNALS, Interrupted
from experiments.store import IN_USE

PATIENCE = 60
"""Seconds in which an interrupted cell may end by itself."""

# Slurm announces the end of a job to all its processes, and these would die of it.
_ANNOUNCEMENTS = {signal.SIGUSR1, signal.SIGUSR2}
_ERROR = re.compile(r"error: |[\w.]*(Error|Exception|Interrupt)\b")


class Attempt(NamedTuple):
    """A cell that runs. ``claim`` is open in its process too, so it outlives this one."""

    cell: Cell
    process: subprocess.Popen
    claim: IO[str]
    began: float


def run(
    cells: Sequence[Cell],
    ledger: Ledger,
    slots: Sequence[Slot],
    *,
    wait: bool,
    show: Callable[[str], object] = print,
) -> None:
    """Run the cells that are neither finished nor recorded as failed, one in each slot.

    Args:
        cells: The cells, in the order in which they are begun.
        ledger: Where logs and failures are recorded.
        slots: What each of the processes may use.
        wait: Wait for cells that other processes work on, and run them if those are lost.
        show: Takes one line for every cell that ends.

    Raises Interrupted where a cell was asked to end by someone else, and lets no cell run on
    whatever is raised. UserError for a damaged record.
    """
    left = [cell for cell in cells if _is_open(cell, ledger)]
    progress = _Progress(len(cells), len(cells) - len(left), show)
    active: dict[int, Attempt] = {}
    try:
        while left or active:
            for slot in [s for s, a in active.items() if a.process.poll() is not None]:
                left += _end(active.pop(slot), ledger, progress)
            for slot in set(range(len(slots))) - active.keys():
                if attempt := _start_next(left, ledger, slots[slot], progress):
                    active[slot] = attempt
            if not active and not wait:
                break
            time.sleep(0.1 if active else 1)
    finally:
        _stop(active.values())


def _is_open(cell: Cell, ledger: Ledger) -> bool:
    """Whether the cell is still to be run. A damaged directory becomes a recorded failure."""
    try:
        return not is_finished(cell) and ledger.error(cell) is None
    except UserError as error:
        ledger.write(cell, 0, str(error))
        return False


def _start_next(
    left: list[Cell], ledger: Ledger, slot: Slot, progress: "_Progress"
) -> Attempt | None:
    """Start the first cell that no other process works on, and take it out of ``left``."""
    for cell in tuple(left):
        if claim := ledger.claim(cell):
            left.remove(cell)
            if _is_open(cell, ledger):
                return _start(cell, ledger, slot, claim)
            claim.close()
            progress.done_elsewhere()
    return None


def _start(cell: Cell, ledger: Ledger, slot: Slot, claim: IO[str]) -> Attempt:
    path = ledger.log(cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, _ANNOUNCEMENTS)  # the child inherits it
    try:
        with open(path, "w") as log:
            process = subprocess.Popen(
                [sys.executable, *cell.words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **slot.environment, VARIABLE: "one"},
                pass_fds=[claim.fileno()],
                process_group=0,  # Ctrl-C reaches this process alone
            )  # fmt: skip
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANNOUNCEMENTS)
    if slot.cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, slot.cores)
    return Attempt(cell, process, claim, time.monotonic())


def _end(attempt: Attempt, ledger: Ledger, progress: "_Progress") -> list[Cell]:
    """Record how an attempt ended; the cell again if another process turned out to have it."""
    cell, status = attempt.cell, attempt.process.returncode
    attempt.claim.close()
    seconds = time.monotonic() - attempt.began
    if status == 0:
        ledger.write(cell, seconds)
        progress.finished(cell, seconds)
        return []
    for number in SIGNALS:
        if status in (-number, 128 + number):
            raise Interrupted(number)
    error = last_error(ledger.log(cell), status)
    if IN_USE in error:
        return [cell]
    ledger.write(cell, seconds, error)
    progress.failed(cell, error)
    return []


def last_error(log: Path, status: int) -> str:
    """The line that says why a process ended with this status."""
    if status < 0:
        name = signal.Signals(-status).name
        return f"killed by {name}" + " (out of memory?)" * (status == -signal.SIGKILL)
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines()]
    errors = [line for line in lines if _ERROR.match(line)] or [line for line in lines if line]
    return errors[-1] if errors else f"exit status {status}"


def _stop(attempts: Iterable[Attempt]) -> None:
    """Ask the processes to end, and kill those that do not in time."""
    for attempt in attempts:
        attempt.process.terminate()
    until = time.monotonic() + PATIENCE
    for attempt in attempts:
        try:
            attempt.process.wait(max(0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            attempt.process.kill()
            attempt.process.wait()
        attempt.claim.close()


class _Progress:
    """Lines about cells that end, with the time left at the rate of this process."""

    def __init__(self, total: int, done: int, show: Callable[[str], object]):
        self._total, self._done, self._show = total, done, show
        self._own, self._began = 0, time.monotonic()

    def done_elsewhere(self) -> None:
        self._done += 1

    def finished(self, cell: Cell, seconds: float) -> None:
        self._line(cell, f"finished in {tqdm.format_interval(seconds)}")

    def failed(self, cell: Cell, error: str) -> None:
        self._line(cell, f"failed: {error}")

    def _line(self, cell: Cell, text: str) -> None:
        self._done, self._own = self._done + 1, self._own + 1
        seconds = (time.monotonic() - self._began) / self._own * (self._total - self._done)
        self._show(
            f"{self._done}/{self._total} cell {cell.number} ({cell.label}) {text}, "
            f"{tqdm.format_interval(seconds)} left"
        )
