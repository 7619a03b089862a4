"""Lotteries and their branches."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from experiments.protocols.lottery.branch_config import LotteryBranch
from experiments.protocols.lottery.branch_run import lottery_branch
from experiments.protocols.lottery.config import Lottery
from experiments.protocols.lottery.run import lottery
from experiments.protocols.protocol import Protocol

if TYPE_CHECKING:
    from experiments.presentation import Presentation
    from experiments.references import Reference
    from experiments.runs import Run


def show_levels(runs: "Sequence[Run]", published: "Sequence[Reference]") -> "Presentation":
    """What the report shows of these runs together."""
    from experiments.protocols.lottery import presentation  # pandas is slow to import

    return presentation.present(runs, published)


LOTTERY = Protocol(Lottery, lottery, figures=show_levels)
LOTTERY_BRANCH = Protocol(LotteryBranch, lottery_branch, figures=show_levels)
