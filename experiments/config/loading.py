"""Config files, overrides of their fields, configs as JSON, and the run directory of a config."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import io
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import tyro

from experiments.config.options import (
    DEFAULTS,
    FactoryChoice,
    Options,
    idle_fields,
    make_options,
    nearest,
)
from experiments.config.sections import Experiment
from experiments.errors import UserError

AnyExperiment = TypeVar("AnyExperiment", bound=Experiment)


def load(source: str) -> Experiment:
    """The config of ``FILE.py`` or ``FILE.py:preset``; a bare name is a file in ``configs/``.

    UserError says what is wrong with it.
    """
    return call(source, "config")


def call(source: str, kind: str) -> Any:
    """What ``get_<kind>()`` or ``get_<kind>(preset)`` of ``FILE.py[:preset]`` returns.

    A bare name is a file in ``<kind>s/``. UserError says what is wrong with the file.
    """
    file, _, preset = source.partition(":")
    path = Path(file)
    if path.name == file and not path.suffix:
        path = Path(f"{kind}s") / f"{file}.py"
        file = str(path)
    if not path.is_file():
        siblings = path.parent.glob("[!_]*.py") if path.parent.is_dir() else []
        raise UserError(f"no {kind} file {file}{nearest(file, [str(p) for p in siblings])}")
    function = getattr(module_of(path), f"get_{kind}", None)
    if function is None:
        raise UserError(f"{file} has no get_{kind}()")
    try:
        return function(preset) if preset else function()
    except ValueError as error:
        raise UserError(f"{source}: {error}") from None


def module_of(path: Path) -> Any:
    """A config file as a module. UserError where it is no Python file."""
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    UserError for what is no field, no value of it, or changes nothing beside the other fields.
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
        config = _replace(config, tree)
    except ValueError as error:
        raise UserError(str(error)) from None
    for name, why in idle_fields(config).items():
        if name in updates:
            raise UserError(f"{name}: changes nothing {why}; leave it out")
    return config


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
        raise UserError(f"there is no --config.{name}{nearest_name(name, field_names(config))}")
    *parents, leaf = name.split(".")
    owner: Any = config
    for parent in parents:
        owner = getattr(owner, parent)
    hint = typing.get_type_hints(type(owner))[leaf]
    is_tuple = typing.get_origin(hint) is tuple
    words = text.replace(",", " ").split() if is_tuple else [text]
    if not text.isascii() and str not in (hint, *typing.get_args(hint)):
        raise UserError(_wrong_type(name, text, hint))  # int() takes the digits of every script
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return tyro.cli(hint, args=words, config=(tyro.conf.FlagConversionOff,))
    except SystemExit:
        raise UserError(_wrong_type(name, text, hint)) from None


def _wrong_type(name: str, text: str, hint: Any) -> str:
    return f"--config.{name}: {text!r} is not {_type_name(hint)}"


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


def _replace(config: Any, tree: dict[str, Any], prefix: str = "") -> Any:
    """``config`` with fields replaced. Errors name a field by its whole dotted name."""
    new = {
        name: _replace(getattr(config, name), value, f"{prefix}{name}.")
        if isinstance(value, dict)
        else value
        for name, value in tree.items()
    }
    try:
        return dataclasses.replace(config, **new) if new else config
    except ValueError as error:
        raise ValueError(_located(str(error), config, prefix)) from None


def _located(message: str, config: Any, prefix: str) -> str:
    """``train.momentum: ...`` of a section called ``dense`` as ``dense.momentum: ...``."""
    own = f"{getattr(config, 'section', prefix[:-1].rpartition('.')[2])}."
    return message if message.startswith(prefix) else prefix + message.removeprefix(own)


def nearest_name(wrong: str, valid: list[str]) -> str:
    """The nearest name; the whole path is compared, then its last part."""
    by_leaf = {name.rsplit(".", 1)[-1]: name for name in valid}
    hint = nearest(wrong, valid)
    if "did you mean" not in hint:
        leaf_hint = nearest(wrong.rsplit(".", 1)[-1], by_leaf)
        for leaf, name in by_leaf.items():
            if leaf_hint == f"; did you mean {leaf!r}?":
                return f"; did you mean {name!r}?"
    return hint


def digest(plain: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that name these JSON values."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]


def exact(value: float) -> str:
    """A finite number as a part of a file's name, which no other number has.

    >>> exact(0.2), exact(0.2000004), exact(1.0)
    ('0.2', '0.2000004', '1')
    """
    return str(int(value)) if value == int(value) else repr(value)


def default_workdir(config: Experiment, source: str, root: Path = Path("runs")) -> Path:
    """``<root>/<config>[-preset]/<hash of the config>/seed_<seed>``; fields that may grow, and the
    seed, do not enter the hash."""
    plain = to_dict(config)
    seed = plain.pop("seed")
    for name in config.grows:
        *parents, leaf = name.split(".")
        functools.reduce(lambda section, parent: section[parent], parents, plain).pop(leaf)
    return root / file_name(source) / digest(plain) / f"seed_{seed}"


def file_name(source: str) -> str:
    """``configs/x.py:smoke`` -> ``x-smoke``."""
    file, _, preset = source.partition(":")
    return Path(file).stem + (f"-{preset}" if preset else "")


def to_dict(config: Experiment) -> dict[str, Any]:
    """The resolved config as plain JSON values, with its protocol."""
    return {"protocol": config.protocol, **_plain(dataclasses.asdict(config))}


def from_dict(cls: type, plain: Mapping[str, Any]) -> Any:
    """The config of class ``cls`` that ``to_dict`` wrote; what is not there has its default.

    Raises ValueError for values that the class refuses.
    """
    hints, values = typing.get_type_hints(cls), {}
    for field in dataclasses.fields(cls):
        if field.name not in plain:
            continue
        value, hint = plain[field.name], hints[field.name]
        if hint is Options:
            factory = cls.factory_of(plain["name"])
            value = DEFAULTS if factory is None else make_options(factory, _tuples(value))
        elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
            value = from_dict(hint, value)
        values[field.name] = value
    return cls(**_tuples(values))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's lists as the tuples that they were."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
