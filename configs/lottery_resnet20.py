"""Lottery tickets of ResNet-20 on CIFAR-10: iterative magnitude pruning with early rewinding.

paper     Frankle et al., arXiv 1912.05671: ResNet-20, a fifth of the weights a level, rewinding to
          an early step; 160 epochs, batches of 128, lr 0.1 dropped at 80 and 120, decay 1e-4
command   python -m experiments.run --config configs/lottery_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data), :smoke (under a minute)
expected  not measured here
"""

from configs import common
from experiments.config import DataConfig, TrainConfig
from experiments.protocols.lottery.config import Lottery


def get_config(preset: str = "paper") -> Lottery:
    """The experiment under ``preset``."""
    paper = Lottery(
        model=common.model("resnet", depth=20, width=16),
        data=DataConfig("cifar10", augment="crop_flip"),
        train=TrainConfig(),
        levels=15,
        rewind="2ep",
        replicates=3,
        branches=("randomly_reinitialise", "randomly_prune"),
    )
    return common.pick(
        preset, paper=paper, digits=common.lottery_digits(paper), smoke=common.lottery_smoke(paper)
    )
