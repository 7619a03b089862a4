"""What every command of this package does with a mistake, Ctrl-C and SIGTERM: one line."""

import functools
import sys
from collections.abc import Callable

from experiments import signals
from experiments.errors import UserError

INTERRUPTED = "interrupted; the same command goes on"


def command(main: Callable[[list[str]], int]) -> Callable[..., int]:
    """``main`` of the words of the command line, which raises what ends it early.

    The status is 2 after a UserError, and 130 or 143 after a signal.
    """

    @functools.wraps(main)
    def guarded(argv: list[str] | None = None) -> int:
        try:
            with signals.raised():
                return main(sys.argv[1:] if argv is None else argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except signals.Interrupted as error:
            print(INTERRUPTED, file=sys.stderr)
            return error.status

    return guarded
