"""Configs as JSON and back."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from experiments.config.options import DEFAULTS, Options, choice, make_options
from experiments.config.sections import Experiment


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
            choice(f"{cls.section}.name", plain["name"], cls.registry)
            factory = cls.registry[plain["name"]]
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
