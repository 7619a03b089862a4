"""Prune, train, measure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.presentation import Presentation
    from experiments.references import Reference
    from experiments.runs import Run


def show_trained(runs: "Sequence[Run]", published: "Sequence[Reference]") -> "Presentation":
    """What the report shows of these runs together."""
    from experiments.protocols.prune_and_train import presentation  # pandas is slow to import

    return presentation.present(runs, published)
