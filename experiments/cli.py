"""The command line: a config file, its preset and overrides -> (config, workdir, dry_run).

    --config configs/x.py[:preset] [--config.prune.density=0.05 ...] [--workdir DIR] [--dry_run]

Every mistake is one line on stderr and exit status 2, before anything is written.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import json
import sys
import typing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tyro

from experiments.config import Experiment, to_dict
from experiments.config.options import DEFAULTS, FactoryChoice, nearest
from experiments.errors import UserError

USAGE = "python -m experiments.run --config configs/FILE.py[:preset] [--config.FIELD=VALUE ...]"

AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)


class Command(NamedTuple):
    """What a command line asks for."""

    config: Experiment
    workdir: Path
    dry_run: bool


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
    config = load(source)
    if flags.pop("help", None) is not None:
        _print_help(config, source)
    updates = {_field_name(flag, config): value for flag, value in flags.items()}
    config = override(config, updates)
    return Command(config, Path(workdir or default_workdir(config, source)), dry_run == "True")


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
        "help",
        *(f"config.{name}" for name in field_names(config)),
    ]
    raise UserError(f"there is no --{flag}{_did_you_mean(flag, names)}")


def _did_you_mean(wrong: str, valid: list[str]) -> str:
    """The nearest name; the whole path is compared, then its last part."""
    by_leaf = {name.rsplit(".", 1)[-1]: name for name in valid}
    hint = nearest(wrong, valid)
    if "did you mean" not in hint:
        leaf_hint = nearest(wrong.rsplit(".", 1)[-1], by_leaf)
        for leaf, name in by_leaf.items():
            if leaf_hint == f"; did you mean {leaf!r}?":
                return f"; did you mean {name!r}?"
    return hint


def load(source: str) -> Experiment:
    """The config of ``FILE.py`` or ``FILE.py:preset``. UserError says what is wrong with it."""
    file, _, preset = source.partition(":")
    path = Path(file)
    if not path.is_file():
        siblings = path.parent.glob("*.py") if path.parent.is_dir() else []
        raise UserError(f"no config file {file}{nearest(file, [str(p) for p in siblings])}")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{file} has no get_config()")
    try:
        return module.get_config(preset) if preset else module.get_config()
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None


def field_names(config: Any, prefix: str = "") -> list[str]:
    """The dotted names of all leaf fields."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += field_names(value, f"{prefix}{field.name}.")
        else:
            names.append(f"{prefix}{field.name}")
    return names


def override(config: AnyExperiment, updates: dict[str, str]) -> AnyExperiment:
    """``config`` with dotted fields replaced by parsed values, validated once at the end.

    A new name of a criterion, network, strategy or branch starts from its default options.
    """
    try:
        names = {n: text for n, text in updates.items() if _is_choice(config, n)}
        chosen: dict[str, Any] = {}
        for name, text in names.items():
            chosen[name] = text
            chosen[name.removesuffix("name") + "options"] = DEFAULTS
        config = _replace(config, _nested(chosen))
        rest = {n: text for n, text in updates.items() if n not in names}
        tree = _nested({n: _parse_value(config, n, text) for n, text in rest.items()})
        return _replace(config, tree)
    except ValueError as error:
        raise UserError(str(error)) from None


def _is_choice(config: Any, name: str) -> bool:
    """Whether the field is the name of something that has options: ``prune.name``."""
    *parents, leaf = name.split(".")
    for parent in parents:
        config = getattr(config, parent, None)
    return leaf == "name" and isinstance(config, FactoryChoice)


def _nested(values: dict[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` -> ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        node = tree
        *parents, leaf = name.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def _parse_value(config: Experiment, name: str, text: str) -> Any:
    """``text`` as the type of the field ``name``; UserError for an unknown field or a bad value."""
    if name not in field_names(config):
        raise UserError(f"there is no --config.{name}{_did_you_mean(name, field_names(config))}")
    *parents, leaf = name.split(".")
    owner: Any = config
    for parent in parents:
        owner = getattr(owner, parent)
    hint = typing.get_type_hints(type(owner))[leaf]
    is_tuple = typing.get_origin(hint) is tuple
    words = text.replace(",", " ").split() if is_tuple else [text]
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return tyro.cli(hint, args=words, config=(tyro.conf.FlagConversionOff,))
    except SystemExit:
        raise UserError(f"--config.{name}: {text!r} is not {_type_name(hint)}") from None


def _type_name(hint: Any) -> str:
    """How a person would say the type: ``a number``, ``one of 'pmap', 'jit'``."""
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(v) for v in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "a comma-separated list"
    if typing.get_args(hint):
        return " or ".join(_type_name(part) for part in typing.get_args(hint))
    words = {int: "a whole number", float: "a number", bool: "True or False", type(None): "None"}
    return words.get(hint, "a text")


def _replace(config: Any, tree: dict[str, Any]) -> Any:
    new = {
        name: _replace(getattr(config, name), value) if isinstance(value, dict) else value
        for name, value in tree.items()
    }
    return dataclasses.replace(config, **new) if new else config


def _print_help(config: Experiment, source: str) -> typing.NoReturn:
    """Every field with its type, default and meaning; exits."""
    arguments = dataclasses.make_dataclass(
        "Arguments",
        [("config", type(config), config), ("workdir", str | None, None), ("dry_run", bool, False)],
    )
    arguments.__doc__ = f"""Run an experiment.

    Args:
        config: The experiment of {source}.
        workdir: Run directory; by default one under runs/ named by the config.
        dry_run: Write nothing; print the resolved config and what the kernels will cost.
    """
    tyro.cli(
        arguments,
        args=["--help"],
        prog=f"python -m experiments.run --config {source}",
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
    )
    sys.exit(0)


def default_workdir(config: Experiment, source: str) -> Path:
    """``runs/<config>[-preset]/<hash of the config without its seed>/seed_<seed>``."""
    plain = to_dict(config)
    seed = plain.pop("seed")
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
    file, _, preset = source.partition(":")
    name = Path(file).stem + (f"-{preset}" if preset else "")
    return Path("runs") / name / digest / f"seed_{seed}"
