"""The three-regime model of pruning: temperature x load, connectivity, similarity."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.protocols.protocol import Protocol
from experiments.protocols.three_regime.config import ThreeRegime
from experiments.protocols.three_regime.run import costs, three_regime

if TYPE_CHECKING:
    from experiments.presentation import Presentation
    from experiments.references import Reference
    from experiments.runs import Run


def show_grids(runs: "Sequence[Run]", published: "Sequence[Reference]") -> "Presentation":
    """What the report shows of these runs together."""
    from experiments.protocols.three_regime import presentation  # slow to import

    return presentation.present(runs, published)


PROTOCOL = Protocol(ThreeRegime, three_regime, costs, show_grids)
