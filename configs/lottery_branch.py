"""What becomes of a lottery's tickets: a preset for each branch.

source    the branches of the lottery-ticket framework behind Frankle and Carbin, arXiv 1803.03635,
          and of the code of arXiv 2203.14328
command   python -m experiments.run --config configs/lottery_branch.py:oneshot --config.parent=DIR
          where DIR is the run directory of a finished lottery, or of another branch
presets   retrain, randomly_prune, randomly_reinitialise, oneshot, prune_early, increase_width,
          widen_mask, change_depth, linear_connectivity; :smoke makes a small parent itself
expected  depends on the parent
"""

from configs import common
from experiments.protocols.lottery.branch_config import BranchConfig, LotteryBranch
from experiments.protocols.lottery.branches import BRANCHES


def get_config(preset: str = "randomly_reinitialise") -> LotteryBranch:
    """The experiment under ``preset``."""
    presets = {name: LotteryBranch(branch=BranchConfig(name)) for name in BRANCHES}
    smoke = LotteryBranch(branch=BranchConfig("linear_connectivity"), levels=(0, 1))
    return common.pick(preset, **presets, smoke=smoke)
