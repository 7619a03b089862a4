"""Which fields of a config a run reads, other than to check or copy them."""

import contextlib
import dataclasses
import sys

from experiments.config.options import Options

NOT_READS = (
    "__post_init__", "check_values", "idle", "idle_fields", "_leaves", "to_dict", "_replace",
    "field_names", "__eq__", "__hash__", "__repr__",
)  # fmt: skip
"""Functions in which a field is checked, copied, compared or shown, but changes nothing."""


@contextlib.contextmanager
def reads_of(config):
    """The set of dotted fields of ``config`` that are read in the block.

    A field of a changed copy of a section counts for all sections of its class, and ``vars`` of
    options for all of them.
    """
    places = dict(_sections(config))
    read = set()
    classes = {type(section) for section in places.values()}

    def note(section, field):
        itself = [name for name, place in places.items() if place is section]
        alike = [name for name, place in places.items() if type(place) is type(section)]
        read.update(f"{name}{field}" for name in itself or alike)

    def observed(section, field):
        if _reader() not in NOT_READS:
            if field == "__dict__" and isinstance(section, Options):
                for each in dataclasses.fields(section):
                    note(section, each.name)
            elif field in {each.name for each in dataclasses.fields(type(section))}:
                note(section, field)
        return object.__getattribute__(section, field)

    for cls in classes:
        cls.__getattribute__ = observed
    try:
        yield read
    finally:
        for cls in classes:
            del cls.__getattribute__


def _reader():
    """The function that reads a field, itself or through ``dataclasses``."""
    frame = sys._getframe(2)
    while frame.f_globals["__name__"] == "dataclasses":
        frame = frame.f_back
    return frame.f_code.co_name


def _sections(config, prefix=""):
    yield prefix, config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _sections(value, f"{prefix}{field.name}.")
