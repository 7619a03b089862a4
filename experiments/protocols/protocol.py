"""What a workflow is to the command line and to the report."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from experiments.config.sections import Experiment
from experiments.store import Store

if TYPE_CHECKING:
    from experiments.presentation import Presentation
    from experiments.references import Reference
    from experiments.runs import Run

    Figures = Callable[[Sequence[Run], Sequence[Reference]], Presentation]


PER_NETWORK = ("seed", "prune")
"""The fields in which runs whose networks train as one program may differ."""


def shared_fields(config: Experiment) -> dict[str, Any]:
    """All the others, with the protocol: runs that are equal in them can share a program."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    own = {name: value for name, value in fields.items() if name not in PER_NETWORK}
    return {"protocol": config.protocol, **own}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """``run(config, store)`` does the work; ``config`` is the class of its configs.

    ``costs(config)`` says what its kernels will cost, a line each, for a dry run. ``figures(runs,
    published)`` says what the report shows of its runs together; protocols with the same function
    are shown together. Where it is None, every run is shown by itself. ``run_together(runs)`` does
    the work of several with the same ``shared_fields``, whose networks train as one program; None
    where runs have no such program.
    """

    config: type[Experiment]
    run: Callable[[Any, Store], None]
    costs: Callable[[Any], Iterable[str]] | None = None
    figures: "Figures | None" = None
    run_together: Callable[[Sequence[tuple[Any, Store]]], None] | None = None
