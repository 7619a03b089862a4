"""Prune, train, measure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.protocols.protocol import Protocol
from experiments.protocols.prune_and_train.config import PruneAndTrain
from experiments.protocols.prune_and_train.run import costs, prune_and_train, run_together

if TYPE_CHECKING:
    from experiments.presentation import Presentation
    from experiments.references import Reference
    from experiments.runs import Run


def show_trained(runs: "Sequence[Run]", published: "Sequence[Reference]") -> "Presentation":
    """What the report shows of these runs together."""
    from experiments.protocols.prune_and_train import presentation  # pandas is slow to import

    return presentation.present(runs, published)


PROTOCOL = Protocol(PruneAndTrain, prune_and_train, costs, show_trained, run_together)
