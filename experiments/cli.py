"""The command line: a config file, its preset and overrides -> (config, workdir, dry_run).

    --config configs/x.py[:preset] [--config.prune.density=0.05 ...] [--workdir DIR] [--dry_run]
    [--hosts ADDRESS:PORT,PROCESS,COUNT] [--tracker tensorboard]

Every mistake is one line on stderr and exit status 2, before anything is written.
"""

import dataclasses
import os
import sys
import typing
from pathlib import Path
from typing import NamedTuple

import tyro

from experiments.config import Experiment, loading
from experiments.errors import UserError, expanded
from experiments.hosts import VARIABLE, Hosts, choose

USAGE = "python -m experiments.run --config configs/FILE.py[:preset] [--config.FIELD=VALUE ...]"


class Command(NamedTuple):
    """What a command line asks for."""

    config: Experiment
    workdir: Path
    dry_run: bool
    hosts: Hosts | None
    tracker: str | None


def parse(argv: list[str]) -> Command:
    """The command of ``argv``. Raises UserError; ``--help`` prints and exits."""
    flags = _flags(argv)
    source = flags.pop("config", None)
    if source is None:
        if "help" in flags:
            print(f"usage: {USAGE} [--workdir DIR]\nWith --config, --help lists every field.")
            sys.exit(0)
        raise UserError(f"--config is missing; usage: {USAGE}")
    workdir, dry_run = flags.pop("workdir", None), flags.pop("dry_run", "False") or "True"
    if dry_run not in ("True", "False"):
        raise UserError(f"--dry_run: {dry_run!r} is not True or False")
    processes = choose(flags.pop("hosts", None), os.environ)
    tracker = flags.pop("tracker", None)
    config = loading.load(source)
    if flags.pop("help", None) is not None:
        _print_help(config, source)
    updates = {_field_name(flag, config): value for flag, value in flags.items()}
    config = loading.override(config, updates)
    path = expanded(workdir, "--workdir") if workdir else loading.default_workdir(config, source)
    return Command(config, path, dry_run == "True", processes, tracker)


def is_silent(argv: list[str]) -> bool:
    """Whether this is a task of a Slurm step whose first task says the same on the same stream."""
    processes = choose(_flags(argv).get("hosts"), os.environ)
    return processes is not None and processes.coordinator is None and processes.process > 0


def _flags(argv: list[str]) -> dict[str, str]:
    """``--a=1 --b 2 3`` -> ``{"a": "1", "b": "2 3"}``."""
    flags: dict[str, str] = {}
    name = None
    for word in argv:
        if word.startswith("--") or word == "-h":
            name, _, value = word.removeprefix("--").partition("=")
            name = "help" if name == "-h" else name
            if name in flags:
                raise UserError(f"--{name} is given twice")
            flags[name] = value
        elif name is None or name == "help":
            raise UserError(f"unexpected argument {word!r}; usage: {USAGE}")
        else:
            flags[name] = f"{flags[name]} {word}".strip()
    return flags


def _field_name(flag: str, config: Experiment) -> str:
    """``config.prune.density`` -> ``prune.density``; UserError for a flag that does not exist."""
    if flag.startswith("config."):
        return flag.removeprefix("config.")
    names = [
        "config",
        "workdir",
        "dry_run",
        "hosts",
        "tracker",
        "help",
        *(f"config.{name}" for name in loading.field_names(config)),
    ]
    raise UserError(f"there is no --{flag}{loading.nearest_name(flag, names)}")


def _print_help(config: Experiment, source: str) -> typing.NoReturn:
    """Every field with its type, default and meaning; exits."""
    arguments = dataclasses.make_dataclass(
        "Arguments",
        [
            ("config", type(config), config),
            ("workdir", str | None, None),
            ("dry_run", bool, False),
            ("hosts", str, "auto"),
            ("tracker", str, "none"),
        ],
    )
    arguments.__doc__ = f"""Run an experiment.

    Args:
        config: The experiment of {source}.
        workdir: Run directory; by default one under runs/ named by the config.
        dry_run: Write nothing: print the resolved config and what the kernels will cost, set
            everything up, and fail where the run would.
        hosts: The processes of one run: auto (those of the Slurm step), one, or
            ADDRESS:PORT,PROCESS,COUNT[,SECONDS to wait]; by default the variable {VARIABLE}.
        tracker: none, tensorboard, or package.module:factory of another (docs/scaling.md).
    """
    tyro.cli(
        arguments,
        args=["--help"],
        prog=f"python -m experiments.run --config {source}",
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
    )
    sys.exit(0)
