"""How far something is: a bar where standard error is a terminal, else lines with the time left.

The lines go to the logger ``ntk_prune``; they are seen where the program that runs has configured
``logging``, as ``experiments.run`` does.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

LOG = logging.getLogger("ntk_prune")
SECONDS = 10.0  # between two lines


_whole: list["Progress"] = []


class Progress(tqdm):
    """A ``tqdm`` bar that logs a line every ``SECONDS`` where it is not shown.

    Inside ``whole`` it is a note on the one bar of the whole.

    Args:
        total: How many units there are.
        desc: What is done.
        unit: What is counted.
        shown: Whether to draw the bar; None: where standard error is a terminal.
        options: More of tqdm's arguments.
    """

    def __init__(self, total: int, desc: str, unit: str, shown: bool | None = None, **options: Any):
        self.outer = _whole[-1] if _whole else None
        disable = None if shown is None else not shown
        disable = True if self.outer is not None else disable
        super().__init__(total=total, desc=desc, unit=unit, disable=disable, **options)
        # A bar that is not drawn keeps none of these.
        self.what, self.unit, self.aim = desc, unit, total
        self.first = self.count = options.get("initial", 0)
        self.began = self.said = time.monotonic()

    def update(self, n: float | None = 1) -> bool | None:
        """Count ``n`` more units."""
        self.count += 1 if n is None else n
        now = time.monotonic()
        if self.outer is not None and not self.outer.disable:
            self._show_in(self.outer, now)
        elif self.disable and now - self.said >= SECONDS and self.count < self.aim:
            self.said = now
            LOG.info(self.line(now - self.began))
        return super().update(n)

    def _show_in(self, outer: "Progress", now: float) -> None:
        if now - self.said >= outer.mininterval:
            self.said = now
            outer.set_postfix_str(f"{self.what}: {self.count:g} of {self.aim} {self.unit}s")

    def line(self, seconds: float) -> str:
        """``ntksap: 12 of 100 rounds in 0:21, 2:34 left``."""
        left = seconds / max(self.count - self.first, 1) * (self.aim - self.count)
        return (
            f"{self.what}: {self.count:g} of {self.aim} {self.unit}s "
            f"in {self.format_interval(seconds)}, {self.format_interval(left)} left"
        )


@contextlib.contextmanager
def whole(total: int, desc: str, unit: str) -> Iterator[Progress]:
    """One bar for work whose parts have bars of their own, which are not drawn beside it."""
    with Progress(total, desc, unit) as bar:
        _whole.append(bar)
        try:
            yield bar
        finally:
            _whole.pop()
