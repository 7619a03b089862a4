"""How every command of this package ends early: with one line and a status, and no traceback."""

import functools
import sys
from collections.abc import Callable

from experiments import signals
from experiments.errors import UserError

ENDS = (UserError, FloatingPointError, signals.Interrupted)
"""What ends a command early."""


def end_of(error: BaseException) -> tuple[str, int]:
    """The line and the status of one of ``ENDS``: 2 for a mistake, 1 for numbers that are no longer
    finite, 130 or 143 for a signal."""
    if isinstance(error, signals.Interrupted):
        return signals.LINE, error.status
    return f"error: {error}", 2 if isinstance(error, UserError) else 1


def command(main: Callable[[list[str]], int]) -> Callable[..., int]:
    """``main`` of the words of the command line, by default those of this process."""

    @functools.wraps(main)
    def guarded(argv: list[str] | None = None) -> int:
        try:
            with signals.raised():
                return main(sys.argv[1:] if argv is None else argv)
        except ENDS as error:
            line, status = end_of(error)
            print(line, file=sys.stderr)
            return status

    return guarded
