"""Cells as one array job of Slurm, through submitit.

A task runs its cells one after another, as a worker does. Near its time limit, or when it is
preempted, it goes back to the queue and goes on from the last checkpoints. What became of a cell is
read from its directory and never from submitit's results: a task that is killed leaves none.
"""

import contextlib
import importlib.util
import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.errors import UserError, user_errors
from experiments.launch import local
from experiments.launch.cells import Cell
from experiments.launch.slots import slots
from experiments.launch.states import Ledger
from experiments.signals import Interrupted

TIMEOUTS = 1000
"""How often a task may reach its time limit: a cell may be longer than any limit."""


class Task(NamedTuple):
    """What one task of the array runs."""

    cells: Sequence[Cell]
    folder: Path
    at_once: int

    def __call__(self) -> None:
        """Run the cells that are left. A preemption ends it quietly: Slurm begins it again."""
        try:
            local.run(self.cells, Ledger(self.folder), slots(None), wait=False,
                      at_once=self.at_once, show=_print)  # fmt: skip
        except Interrupted as error:
            sys.exit(error.status)

    def checkpoint(self) -> Any:
        """The same task once more: its cells know where they are."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _print(line: str) -> None:
    print(line, flush=True)


def submit(
    cells: Sequence[Cell], ledger: Ledger, pack: int, at_once: int, flags: Mapping[str, str]
) -> str:
    """Submit the cells that wait, ``pack`` to a task. Returns the number of the job.

    Args:
        cells: The cells.
        ledger: Where logs and failures are recorded; on a file system that the nodes share.
        pack: Cells of one task. One of many short cells waits less for the scheduler.
        at_once: How many of them may train as one program.
        flags: Options of sbatch by name.

    UserError where submitit or Slurm is missing, a flag is refused, or no cell waits.
    """
    waiting = [cell for cell in cells if ledger.state(cell)[0] == "waiting"]
    if not waiting:
        raise UserError("--slurm: no cell waits to be run")
    folder = ledger.folder.resolve()
    tasks = [Task(waiting[i : i + pack], folder, at_once) for i in range(0, len(waiting), pack)]
    executor = _executor(folder / "slurm", flags)
    job = _submitted(executor, tasks)[0].job_id.partition("_")[0]
    with open(_jobs_file(ledger), "a") as file:
        file.write(f"{job}\n")
    return job


def _executor(folder: Path, flags: Mapping[str, str]) -> Any:
    """Submitit's executor with the flags, which it knows by name or passes to sbatch."""
    if importlib.util.find_spec("submitit") is None:
        raise UserError("--slurm needs submitit: pip install '.[slurm]'")
    from submitit import SlurmExecutor

    with user_errors("--slurm"):
        try:
            executor = SlurmExecutor(folder, max_num_timeout=TIMEOUTS)
        except RuntimeError as error:  # there is no srun
            raise UserError(f"--slurm: {error}") from None
        known = SlurmExecutor._valid_parameters()
        values = {name.replace("-", "_"): _number(text) for name, text in flags.items()}
        others = {name: value for name, value in values.items() if name not in known}
        executor.update_parameters(
            **{"job_name": folder.parent.name, "stderr_to_stdout": True}
            | {name: value for name, value in values.items() if name in known},
            additional_parameters={"requeue": True, **others},
        )
    return executor


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _submitted(executor: Any, tasks: Sequence[Task]) -> Any:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # sbatch's lines, which the error has too
            return executor.submit_array(tasks)
    except (FailedJobError, FailedSubmissionError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise UserError(f"--slurm: {lines[0].strip()}") from None


def _jobs_file(ledger: Ledger) -> Path:
    return ledger.folder / "slurm" / "jobs.txt"


def queued(ledger: Ledger) -> str:
    """What the queue says of the sweep's jobs, as ``job 12: 3 PENDING, 1 RUNNING``; empty where
    none is in it."""
    jobs = _jobs_file(ledger).read_text().split() if _jobs_file(ledger).exists() else []
    lines = []
    for job in jobs:
        command = ["squeue", "-h", "-r", "-j", job, "-t", "all", "-o", "%T"]
        try:
            states = subprocess.run(command, capture_output=True, text=True).stdout.split()
        except FileNotFoundError:  # not a host of the cluster
            return ""
        counts = [f"{states.count(state)} {state}" for state in sorted(set(states))]
        lines += [f"job {job}: {', '.join(counts)}"] if counts else []
    return "; ".join(lines)
