"""The one exception that is shown as a single line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


def expanded(path: str | Path, field: str) -> Path:
    """The path with ``~`` as the home directory. UserError for a user who does not exist."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{field}: {path}: {error}") from None


class UserError(Exception):
    """Something the user can mend: what is wrong, where, what to do."""


@contextlib.contextmanager
def user_errors(where: str) -> Iterator[None]:
    """Turn what a bad config or missing data raises inside the block into a UserError."""
    try:
        yield
    except (
        ValueError, TypeError, ImportError, OSError, NotImplementedError, OverflowError, MemoryError
    ) as error:  # fmt: skip
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
