"""Ctrl-C and SIGTERM end a run between two of its writes, with one line and the usual status."""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LINE = "interrupted; the same command goes on"


class Interrupted(KeyboardInterrupt):
    """A signal asked the run to end; ``status`` is what a shell expects then (130 or 143)."""

    def __init__(self, number: int):
        super().__init__(number)
        self.status = 128 + number


_pending: list[int] = []  # signals that came while they were held back
_held = False


def end_at_once() -> None:
    """Have a signal end the process with its line outside ``raised``: while a command is imported
    nothing is begun, and an exception would become a traceback."""
    for number in SIGNALS:
        signal.signal(number, _end)


def _end(number: int, _) -> None:
    os.write(2, f"{LINE}\n".encode())
    os._exit(128 + number)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Raise ``Interrupted`` in this block for the first signal; the second ends the process.

    Python lets only the main thread choose; in another the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    hook, sys.unraisablehook = sys.unraisablehook, _again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let a signal wait for the end of this block, whose threads would not survive it."""
    global _held
    _held = True
    try:
        yield
    finally:
        _held = False
        if _pending:
            raise Interrupted(_pending.pop())


def _again(unraisable: Any) -> None:
    """Send a signal again that came within a callback of garbage collection, which swallows it."""
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)
        return
    number = unraisable.exc_value.status - 128
    for each in SIGNALS:
        signal.signal(each, _interrupt)
    threading.Timer(0.1, _thread.interrupt_main, (number,)).start()


def _interrupt(number: int, _) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    if _held:
        _pending.append(number)
    else:
        raise Interrupted(number)
