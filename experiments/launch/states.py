"""What became of the cells of a sweep: finished, running, failed or waiting.

A run directory says whether it is finished or in use. What a directory cannot say of itself lies
beside it, in ``<root>/sweeps/<name>/``: a log of every cell, how long it took or why it failed, and
the lock of the process that runs it.
"""

import contextlib
import datetime
import fcntl
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

from experiments.errors import UserError, user_errors
from experiments.launch.cells import Cell
from experiments.store import Store
from ntk_prune import checkpoint

State = Literal["finished", "running", "failed", "waiting"]


class Ledger:
    """The files of a sweep in ``folder``, by cell."""

    def __init__(self, folder: Path):
        self.folder = folder

    def log(self, cell: Cell) -> Path:
        """Where what the cell prints goes."""
        return self.folder / "logs" / f"{cell.key}.log"

    def record(self, cell: Cell) -> dict[str, Any] | None:
        """``seconds`` of the last attempt that ended by itself, ``error`` if it failed, ``host``
        and ``time``. UserError if the file is damaged."""
        path = self._record_path(cell)
        try:
            return json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UserError(f"{path} is not JSON ({error}); remove it") from None

    def write(self, cell: Cell, seconds: float, error: str | None = None) -> None:
        """Record how an attempt ended."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = {"seconds": round(seconds, 3), "error": error, "host": platform.node(),
                  "time": now, "command": cell.command}  # fmt: skip
        text = json.dumps(record, indent=1) + "\n"
        checkpoint.write_atomically(self._record_path(cell), text.encode())

    def error(self, cell: Cell) -> str | None:
        """The line of the recorded failure, if there is one."""
        return (self.record(cell) or {}).get("error")

    def forget_failure(self, cell: Cell) -> None:
        """Let the cell be run again if it failed."""
        if self.error(cell) is not None:
            self._record_path(cell).unlink(missing_ok=True)

    def _record_path(self, cell: Cell) -> Path:
        return self.folder / "records" / f"{cell.key}.json"

    def claim(self, cell: Cell) -> IO[str] | None:
        """An open file that keeps other workers from the cell as long as a process has it open;
        None if one has, or if the run itself is in use. UserError where it cannot be locked."""
        if is_locked(cell.workdir / ".lock"):
            return None
        path = self._claim_path(cell)
        with user_errors(f"{path} cannot be locked"):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "w")  # noqa: SIM115 (the caller closes it)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return None
        return file

    def _claim_path(self, cell: Cell) -> Path:
        return self.folder / "claims" / f"{cell.key}.lock"

    def is_running(self, cell: Cell) -> bool:
        """Whether a process works on the cell."""
        return is_locked(self._claim_path(cell)) or is_locked(cell.workdir / ".lock")

    def state(self, cell: Cell) -> tuple[State, str]:
        """The state of the cell, with the line of its error if it failed."""
        try:
            if is_finished(cell):
                return "finished", ""
            if self.is_running(cell):
                return "running", ""
            error = self.error(cell)
        except UserError as damage:
            error = str(damage)
        return ("waiting", "") if error is None else ("failed", error)


def is_finished(cell: Cell) -> bool:
    """Whether the run is complete. UserError if it is damaged or that of another config."""
    store = Store(cell.workdir, cell.config)
    return store.has("DONE") and store.done is not None


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of the file."""
    with _opened(path) as file:
        if file is None:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no locks on this file system
            return False
        return False


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[str] | None]:
    try:
        file = open(path)  # noqa: SIM115 (closed below)
    except OSError:
        yield None
        return
    with file:
        yield file
