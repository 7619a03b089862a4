"""Run an experiment: ``python -m experiments.run --config configs/ntksap_resnet20.py``."""

import contextlib
import json
import sys
from collections.abc import Iterator

import jax
from jax.errors import JaxRuntimeError

from experiments import cli, hosts, logs, signals, trackers
from experiments.commands import command, end_of
from experiments.compilation import keep_programs
from experiments.config import to_dict
from experiments.errors import UserError
from experiments.protocols import PROTOCOLS
from experiments.store import Store


@command
def main(argv: list[str]) -> int:
    """Parse, then run the protocol unless the run is finished. Returns the exit status.

    One of several processes that fails does not return: it ends at once, as the others may never
    answer.
    """
    with logs.shown():
        asked = _parse(argv)
        if asked is None:
            return 2
        if asked.hosts is None or asked.dry_run:
            return _run(asked, None)
        try:
            return _run(asked, asked.hosts)
        except (Exception, signals.Interrupted) as error:
            end = end_of(error)
            if end is None and isinstance(error, JaxRuntimeError):
                reason = str(error).splitlines()[0]
                lost = f"a process of this run was lost; the same command goes on ({reason})"
                end = f"error: {lost}", 1
            if end is None:
                raise
        line, status = end
        print(f"process {asked.hosts.process}: {line}", file=sys.stderr)
        hosts.leave(status)
        return status


def _parse(argv: list[str]) -> cli.Command | None:
    """The command; None for a mistake that another task of the Slurm step says."""
    try:
        return cli.parse(argv)
    except UserError:
        if cli.is_silent(argv):
            return None
        raise


def _run(asked: cli.Command, processes: hosts.Hosts | None) -> int:
    config, protocol = asked.config, PROTOCOLS[asked.config.protocol]
    keep_programs()
    if asked.dry_run:
        print(f"{json.dumps(to_dict(config), indent=1)}\n{asked.workdir}")
        status = _rehearse(asked)
        for line in protocol.costs(config) if protocol.costs else ():
            print(line)
        return status
    with hosts.joined(processes, asked.workdir) as workdir:
        tracker = trackers.make(asked.tracker) if jax.process_index() == 0 else None
        store = Store(workdir, config, tracker)
        if store.done is not None:
            print(f"{workdir} is finished: {store.done}")
            return 0
        protocol.run(config, store)
    return 0


def _rehearse(asked: cli.Command) -> int:
    """Fail where the run would before it writes, and write nothing."""
    store = _Rehearsal(asked.workdir, asked.config)
    if store.done is not None:
        print(f"finished: {store.done}")
        return 0
    with contextlib.suppress(_RehearsedError):
        PROTOCOLS[asked.config.protocol].run(asked.config, store)
    return 0


class _RehearsedError(Exception):
    """All that comes before the work has passed."""


class _Rehearsal(Store):
    """A store that is never written: a run claims it when everything is set up, and ends there."""

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        raise _RehearsedError
        yield


if __name__ == "__main__":
    sys.exit(main())
