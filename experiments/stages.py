"""Work that is done once: directories with a ``DONE``, shared by whoever needs what is in them.

A dense training, a level of a lottery, a retraining, a measure: whoever needs one asks for it, and
who asks first makes it. After a kill it is gone on with.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.config.loading import digest
from experiments.errors import UserError
from experiments.store import Store

Numbers = dict[str, Any]


def done_once(stores: Sequence[Store], make: Callable[[], Sequence[Numbers]]) -> None:
    """Have the work in these directories done by ``make``, unless it is done.

    Another process that asks for the same work meanwhile waits for it.

    Args:
        stores: The directories; they are made together.
        make: Does the work, from where a kill left it, and gives the numbers of every ``DONE``.
    """
    if all(store.is_finished() for store in stores):
        return
    with contextlib.ExitStack() as stack:
        for store in sorted(stores, key=lambda s: s.path):  # all processes in one order
            stack.enter_context(store.locked(".stage", wait=True))
        if not all(store.is_finished() for store in stores):
            for store, numbers in zip(stores, make(), strict=True):
                store.finish(numbers)


def stage(root: Store, kind: str, made_by: Mapping[str, Any]) -> Store:
    """The directory ``kind/<digest>`` in ``root`` for what ``made_by`` determines.

    ``made_by.json`` in it says what that is: all that the work depends on, as JSON values. Raises
    UserError where the directory is of something else.
    """
    store = root.within(f"{kind}/{digest(made_by)}")
    if not store.has("made_by.json"):
        store.write_json("made_by.json", dict(made_by))
    if digest(store.read_json("made_by.json")) != digest(made_by):
        raise UserError(f"{store.path} holds something else; remove it")
    return store
