"""Run an experiment: ``python -m experiments.run --config configs/ntksap_resnet20.py``."""

import contextlib
import json
import sys
from collections.abc import Iterator

import jax
from jax.errors import JaxRuntimeError

from experiments import cli, hosts, logs, signals, trackers
from experiments.compilation import keep_programs
from experiments.config import to_dict
from experiments.errors import UserError
from experiments.protocols import PROTOCOLS
from experiments.store import Store


def main(argv: list[str] | None = None) -> int:
    """Parse, then run the protocol unless the run is finished. Returns the exit status.

    One of several processes that fails does not return: it ends at once, as the others may never
    answer.
    """
    processes = None
    try:
        with signals.raised(), logs.shown():
            command = cli.parse(sys.argv[1:] if argv is None else argv)
            processes = None if command.dry_run else command.hosts
            return _run(command, processes)
    except UserError as error:
        status = _fail(f"error: {error}", 2, processes)
    except FloatingPointError as error:
        status = _fail(f"error: {error}", 1, processes)
    except signals.Interrupted as error:
        status = _fail("interrupted; the same command goes on", error.status, processes)
    except JaxRuntimeError as error:
        if processes is None:
            raise
        line = str(error).splitlines()[0]
        status = _fail(f"error: a process of this run was lost; the same command goes on ({line})",
                       1, processes)  # fmt: skip
    return status


def _run(command: cli.Command, processes: hosts.Hosts | None) -> int:
    config, protocol = command.config, PROTOCOLS[command.config.protocol]
    keep_programs()
    if command.dry_run:
        print(f"{json.dumps(to_dict(config), indent=1)}\n{command.workdir}")
        for line in protocol.costs(config) if protocol.costs else ():
            print(line)
        return _rehearse(command)
    with hosts.joined(processes, command.workdir) as workdir:
        tracker = trackers.make(command.tracker) if jax.process_index() == 0 else None
        store = Store(workdir, config, tracker)
        if store.done is not None:
            print(f"{workdir} is finished: {store.done}")
            return 0
        protocol.run(config, store)
    return 0


def _rehearse(command: cli.Command) -> int:
    """Fail where the run would before it writes, and write nothing."""
    store = _Rehearsal(command.workdir, command.config)
    if store.done is not None:
        print(f"finished: {store.done}")
        return 0
    with contextlib.suppress(_RehearsedError):
        PROTOCOLS[command.config.protocol].run(command.config, store)
    return 0


class _RehearsedError(Exception):
    """All that comes before the work has passed."""


class _Rehearsal(Store):
    """A store that is never written: a run claims it when everything is set up, and ends there."""

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        raise _RehearsedError
        yield


def _fail(line: str, status: int, processes: hosts.Hosts | None) -> int:
    """Print the line and return the status; one of several processes ends with it."""
    if processes is None:
        print(line, file=sys.stderr)
        return status
    print(f"process {processes.process}: {line}", file=sys.stderr)
    hosts.leave(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
