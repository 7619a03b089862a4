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


@dataclasses.dataclass(frozen=True)
class Protocol:
    """``run(config, store)`` does the work; ``config`` is the class of its configs.

    ``costs(config)`` says what its kernels will cost, a line each, for a dry run. ``figures(runs,
    published)`` says what the report shows of its runs together; protocols with the same function
    are shown together. Where it is None, every run is shown by itself.
    """

    config: type[Experiment]
    run: Callable[[Any, Store], None]
    costs: Callable[[Any], Iterable[str]] | None = None
    figures: "Figures | None" = None
