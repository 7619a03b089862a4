"""Options of factories as typed dataclasses, and the checks that every config shares."""

import dataclasses
import difflib
import functools
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

LARGEST = 2**32
"""Whole numbers of a config are smaller: seeds have 32 bits, and nothing is counted that far."""


def nearest(wrong: str, valid: Iterable[str]) -> str:
    """``"; did you mean 'x'?"``, or the list of what is valid, if any, when nothing is near."""
    valid = list(valid)
    close = difflib.get_close_matches(wrong, valid, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; choose one of: {', '.join(valid)}" if valid else ""


def require(condition: bool, field: str, value: Any, expected: str) -> None:
    """Raise ValueError, naming the field and what it takes, unless ``condition`` holds."""
    if not condition:
        raise ValueError(f"{field}: expected {expected}, got {value!r}")


def check_values(config: Any, prefix: str = "") -> None:
    """Raise ValueError for a number in a config, or in a section of it, that is not finite or a
    whole one of ``LARGEST`` or more, and for a list with one value twice, unless the class
    ``repeats`` the field or it is a factory's."""
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            check_values(value, f"{name}.")
        elif isinstance(value, tuple) and not isinstance(config, Options):
            once = len(set(value)) == len(value) or field.name in getattr(config, "repeats", ())
            require(once, name, value, "each value once")
        for number in value if isinstance(value, tuple) else (value,):
            is_finite = not isinstance(number, float) or math.isfinite(number)
            require(is_finite, name, value, "finite numbers")
            is_small = not isinstance(number, int) or abs(number) < LARGEST
            require(is_small, name, value, "numbers below 2^32")


def idle_fields(config: Any) -> dict[str, str]:
    """The fields of a config and of its sections that change nothing beside the others, dotted,
    and why: what ``idle()`` of each says."""
    fields = dict(config.idle()) if hasattr(config, "idle") else {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            if field.name in fields:
                fields |= dict.fromkeys(_leaves(value, field.name), fields.pop(field.name))
            fields |= {f"{field.name}.{name}": why for name, why in idle_fields(value).items()}
    return fields


def _leaves(config: Any, prefix: str) -> list[str]:
    names = []
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}.{field.name}"
        names += _leaves(value, name) if dataclasses.is_dataclass(value) else [name]
    return names


def choice(field: str, value: str, valid: Iterable[str]) -> None:
    """Raise ValueError, naming the nearest one, unless ``value`` is one of ``valid``."""
    valid = list(valid)
    if value not in valid:
        raise ValueError(f"{field}: there is no {value!r}{nearest(value, valid)}")


@dataclasses.dataclass(frozen=True)
class Options:
    """Arguments of a factory; this class itself stands for the factory's defaults."""


DEFAULTS = Options()

# What the data or the protocol decides, not the user.
_NOT_OPTIONS = ("num_classes",)


@functools.cache
def options_class(factory: Callable) -> type[Options]:
    """The frozen dataclass of a factory's arguments: types, defaults and descriptions."""
    hints = typing.get_type_hints(factory)
    fields = [
        (name, hints[name], dataclasses.field(default=parameter.default))
        for name, parameter in inspect.signature(factory).parameters.items()
        if name not in _NOT_OPTIONS
    ]
    cls = dataclasses.make_dataclass(factory.__name__, fields, bases=(Options,), frozen=True)
    cls.__doc__ = factory.__doc__
    return cls


def make_options(factory: Callable, values: Mapping[str, Any]) -> Options:
    """The options of ``factory`` with ``values`` set. ValueError names an unknown one."""
    cls = options_class(factory)
    known = [field.name for field in dataclasses.fields(cls)]
    for name in values:
        if name not in known:
            raise ValueError(f"{factory.__name__} has no option {name!r}{nearest(name, known)}")
    return cls(**values)


def imported(field: str, name: str, product: type, given: Iterable[str] = ()) -> Callable:
    """The factory ``package.module:factory`` of a user, a function with a type and a default for
    every argument, those ``given`` among them, that says that it returns a ``product``.

    Raises ValueError, naming the field, where there is no such function. Nothing else is called.
    """
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{field}: {name!r} cannot be imported ({error}); it is package.module:factory, found "
            "from this folder, from $PYTHONPATH or among what is installed"
        ) from None
    hints = typing.get_type_hints(factory) if inspect.isfunction(factory) else {}
    kind = product.__name__
    require(hints.get("return") is product, field, name,
            f"a function declared as `def {attribute}(...) -> {kind}`")  # fmt: skip
    parameters = inspect.signature(factory).parameters
    for argument in given:
        require(argument in parameters, field, name, f"a function that takes {argument!r}")
    for argument, parameter in parameters.items():
        has_both = argument in hints and parameter.default is not parameter.empty
        require(has_both, field, name, f"a type and a default for its argument {argument!r}")
    return factory


class FactoryChoice:
    """A choice by name from ``registry`` together with the options of the chosen factory.

    Where it ``makes`` one kind of thing, a user's own ``package.module:factory`` will do. What is
    ``given`` comes from the data.
    """

    registry: ClassVar[Mapping[str, Callable | None]]
    section: ClassVar[str]
    makes: ClassVar[type | None] = None
    given: ClassVar[tuple[str, ...]] = ()
    name: str
    options: Options

    @classmethod
    def factory_of(cls, name: str) -> Callable | None:
        """The factory of this name. ValueError where there is none."""
        field = f"{cls.section}.name"
        if cls.makes is not None and ":" in name:
            return imported(field, name, cls.makes, cls.given)
        choice(field, name, cls.registry)
        return cls.registry[name]

    def make(self, **given: Any) -> Any:
        """What the chosen factory makes of the options. ValueError for what they do not allow."""
        factory = self.factory_of(self.name)
        if factory is None:
            return None
        try:
            made = factory(**vars(self.options), **given)
        except ValueError as error:
            raise ValueError(f"{self.section}.options: {error}") from None
        if self.makes is not None and not isinstance(made, self.makes):
            raise ValueError(
                f"{self.section}.name: {self.name} returned a {type(made).__name__}, "
                f"not a {self.makes.__name__}"
            )
        return made

    def _validate_choice(self) -> None:
        factory = self.factory_of(self.name)
        expected = Options if factory is None else options_class(factory)
        if type(self.options) is Options:
            object.__setattr__(self, "options", expected())
        elif type(self.options) is not expected:
            raise ValueError(
                f"{self.section}.options: these are options of "
                f"{type(self.options).__name__!r}, not of {self.name!r}"
            )
        check_values(self.options, f"{self.section}.options.")
        self.make()  # once, which is cheap: bad options fail with the config
