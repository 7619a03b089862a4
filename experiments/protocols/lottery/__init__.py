"""Lotteries and their branches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.presentation import Presentation
    from experiments.references import Reference
    from experiments.runs import Run


def show_levels(runs: "Sequence[Run]", published: "Sequence[Reference]") -> "Presentation":
    """What the report shows of these runs together."""
    from experiments.protocols.lottery import presentation  # pandas is slow to import

    return presentation.present(runs, published)
