"""Runs whose networks train as one program: ``python -m experiments.together RUN -- RUN ...``.

``RUN`` is what follows ``python -m experiments.run``. A sweep with ``--at_once`` starts this. Each
run has its own directory, as if it was run alone, and can go on alone.
"""

import itertools
import sys
from collections.abc import Iterator, Sequence

from experiments import cli, logs, trackers
from experiments.commands import command
from experiments.compilation import keep_programs
from experiments.errors import UserError
from experiments.protocols import PROTOCOLS
from experiments.protocols.protocol import shared_fields
from experiments.store import Store


@command
def main(argv: list[str]) -> int:
    """Parse, then do those runs together that are not finished. Returns the exit status."""
    with logs.shown():
        commands = [cli.parse(words) for words in _split(argv)]
        _check(commands)
        keep_programs()
        stores = [Store(c.workdir, c.config, trackers.make(c.tracker)) for c in commands]
        left = [(c.config, s) for c, s in zip(commands, stores, strict=True) if s.done is None]
        run_together = PROTOCOLS[commands[0].config.protocol].run_together
        if left and run_together is not None:
            run_together(left)
    return 0


def _split(words: Sequence[str]) -> Iterator[list[str]]:
    """The words between ``--``."""
    for is_end, part in itertools.groupby(words, "--".__eq__):
        if not is_end:
            yield list(part)


def _check(commands: Sequence[cli.Command]) -> None:
    """UserError where the runs are no runs of one program."""
    if not commands:
        raise UserError("no runs are given; usage: python -m experiments.together RUN -- RUN ...")
    first, *others = commands
    if PROTOCOLS[first.config.protocol].run_together is None:
        raise UserError(f"runs of {first.config.protocol} are not trained together")
    for each in commands:
        if each.dry_run or each.hosts is not None:
            raise UserError("--dry_run and --hosts are for one run: python -m experiments.run")
    for other in others:
        if shared_fields(other.config) != shared_fields(first.config):
            raise UserError(f"{other.workdir} differs from {first.workdir} in more than seed and "
                            "prune; run it alone")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
