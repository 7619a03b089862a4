"""Log lines of a run on standard output, between the bars of a terminal and not through them."""

import contextlib
import logging
from collections.abc import Iterator

from tqdm import tqdm

NAMES = ("ntk_prune", "experiments")


class _AroundBars(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record))


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Print what this package logs in the block."""
    handler = _AroundBars(logging.INFO)
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # grain gives the root a handler of its own
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
