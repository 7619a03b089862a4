"""How every command of this package ends early: with one line and a status, and no traceback."""

import errno
import functools
import sys
from collections.abc import Callable

from experiments import signals
from experiments.errors import UserError

FULL = "error: no space is left on the device; make room, and the same command goes on"

_ERRNOS = {errno.ENOSPC, errno.EDQUOT}


def end_of(error: BaseException) -> tuple[str, int] | None:
    """The line and the status of what ends a command early; None for a fault of the program.

    2 for a mistake, 1 for numbers that are no longer finite and for a full disk, 130 or 143 for a
    signal.
    """
    if isinstance(error, signals.Interrupted):
        return signals.LINE, error.status
    if isinstance(error, UserError):
        return f"error: {error}", 2
    if isinstance(error, FloatingPointError):
        return f"error: {error}", 1
    return (FULL, 1) if _is_full(error) else None


def _is_full(error: BaseException) -> bool:
    """Whether a write, ours or that of a checkpoint by tensorstore, found no space."""
    if isinstance(error, OSError):
        return error.errno in _ERRNOS
    return any(f"os_error_code='{number}'" in str(error) for number in _ERRNOS)


def command(main: Callable[[list[str]], int]) -> Callable[..., int]:
    """``main`` of the words of the command line, by default those of this process."""

    @functools.wraps(main)
    def guarded(argv: list[str] | None = None) -> int:
        try:
            with signals.raised():
                return main(sys.argv[1:] if argv is None else argv)
        except (Exception, signals.Interrupted) as error:
            end = end_of(error)
            if end is None:
                raise
            line, status = end
            print(line, file=sys.stderr)
            return status

    return guarded
