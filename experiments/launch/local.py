"""Cells as processes of this machine, several at a time. A cell that crashes costs one cell.

Cells that train as one program share a process. If that fails, each of them is run alone.
"""

import itertools
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
from experiments.launch.packing import companions
from experiments.launch.slots import Slot
from experiments.launch.states import Ledger, is_finished
from experiments.signals import SIGNALS, Interrupted
from experiments.store import IN_USE

PATIENCE = 60
"""Seconds in which an interrupted cell may end by itself."""

# Slurm announces the end of a job to all its processes, and these would die of it.
_ANNOUNCEMENTS = {signal.SIGUSR1, signal.SIGUSR2}
_ERROR = re.compile(r"error: |[\w.]*(Error|Exception|Interrupt)\b")


class Claimed(NamedTuple):
    """A cell, and the open file that keeps others from it."""

    cell: Cell
    file: IO[str]


class Attempt(NamedTuple):
    """Cells that run in one process. The files of their claims are open there too, so that the
    claims outlive this process."""

    claimed: Sequence[Claimed]
    process: subprocess.Popen
    began: float

    def release(self) -> None:
        """Let others have the cells."""
        for _, file in self.claimed:
            file.close()


def run(
    cells: Sequence[Cell],
    ledger: Ledger,
    slots: Sequence[Slot],
    *,
    wait: bool,
    at_once: int = 1,
    show: Callable[[str], object] = print,
) -> None:
    """Run the cells that are neither finished nor recorded as failed, a process in each slot.

    Args:
        cells: The cells, in the order in which they are begun.
        ledger: Where logs and failures are recorded.
        slots: What each of the processes may use.
        wait: Wait for cells that other processes work on, and run them if those are lost.
        at_once: How many cells may train as one program.
        show: Takes one line for every cell that ends.

    Raises Interrupted where a cell was asked to end by someone else, and lets no cell run on
    whatever is raised. UserError for a damaged record.
    """
    left = [cell for cell in cells if _is_open(cell, ledger)]
    progress = _Progress(len(cells), len(cells) - len(left), show)
    alone: set[str] = set()
    active: dict[int, Attempt] = {}
    try:
        while left or active:
            for slot in [s for s, a in active.items() if a.process.poll() is not None]:
                again = _end(active.pop(slot), ledger, progress)
                alone |= {cell.key for cell in again}
                left += again
            for slot in set(range(len(slots))) - active.keys():
                if claimed := _claim_next(left, ledger, progress, at_once, alone):
                    active[slot] = _start(claimed, ledger, slots[slot])
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


def _claim_next(
    left: list[Cell], ledger: Ledger, progress: "_Progress", at_once: int, alone: set[str]
) -> list[Claimed]:
    """Take the first cell that no other process works on out of ``left``, and with it those that
    can train as one program, up to ``at_once``; the cells ``alone`` have none with them."""
    claimed = _claim(left, 1, left, ledger, progress)
    if at_once > 1 and claimed and claimed[0].cell.key not in alone:
        fitting = companions(claimed[0].cell, [cell for cell in left if cell.key not in alone])
        claimed += _claim(fitting, at_once - 1, left, ledger, progress)
    return claimed


def _claim(
    cells: Iterable[Cell], most: int, left: list[Cell], ledger: Ledger, progress: "_Progress"
) -> list[Claimed]:
    """Take at most so many of the cells that are to be run and that nobody works on."""
    claimed: list[Claimed] = []
    for cell in tuple(cells):
        if len(claimed) == most:
            break
        if file := ledger.claim(cell):
            left.remove(cell)
            if _is_open(cell, ledger):
                claimed.append(Claimed(cell, file))
            else:
                file.close()
                progress.done_elsewhere()
    return claimed


def _start(claimed: Sequence[Claimed], ledger: Ledger, slot: Slot) -> Attempt:
    path = ledger.log(claimed[0].cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, _ANNOUNCEMENTS)  # the child inherits it
    try:
        with open(path, "w") as log:
            process = subprocess.Popen(
                [sys.executable, *_words([cell for cell, _ in claimed])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env={**os.environ, **slot.environment, VARIABLE: "one"},
                pass_fds=[file.fileno() for _, file in claimed],
                process_group=0,  # Ctrl-C reaches this process alone
            )  # fmt: skip
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANNOUNCEMENTS)
    if slot.cores is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, slot.cores)
    return Attempt(claimed, process, time.monotonic())


def _words(cells: Sequence[Cell]) -> list[str]:
    """The command of one cell, or that of several as one program."""
    if len(cells) == 1:
        return list(cells[0].words)
    runs = [["--", *cell.words[2:]] for cell in cells]  # without -m experiments.run
    return ["-m", "experiments.together", *itertools.chain(*runs)]


def _end(attempt: Attempt, ledger: Ledger, progress: "_Progress") -> list[Cell]:
    """Record how an attempt ended. Returns the cells that are to be run again, alone: several that
    failed together, or one that another process turned out to have."""
    cells, status = [cell for cell, _ in attempt.claimed], attempt.process.returncode
    attempt.release()
    seconds = time.monotonic() - attempt.began
    if status == 0:
        for cell in cells:
            ledger.write(cell, seconds / len(cells))
            progress.finished(cell, seconds / len(cells))
        return []
    for number in SIGNALS:
        if status in (-number, 128 + number):
            raise Interrupted(number)
    error = last_error(ledger.log(cells[0]), status)
    if len(cells) > 1 or IN_USE in error:
        return cells
    ledger.write(cells[0], seconds, error)
    progress.failed(cells[0], error)
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
        attempt.release()


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
