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
    """Print what this package logs in the block; loggers that are configured stay as they are."""
    handler = _AroundBars(logging.INFO)
    loggers = [logging.getLogger(name) for name in NAMES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
