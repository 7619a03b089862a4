"""The one exception that is shown as a single line."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """Something the user can mend: what is wrong, where, what to do."""


@contextlib.contextmanager
def user_errors(where: str) -> Iterator[None]:
    """Turn what a bad config or missing data raises inside the block into a UserError."""
    try:
        yield
    except (ValueError, TypeError, ImportError, OSError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error
