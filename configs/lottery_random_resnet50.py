"""Random pruning level by level of a CIFAR ResNet-50, as the theory of its NTK has it.

paper     Yang and Wang, AISTATS 2023, arXiv 2203.14328; its code's command is 16 levels of
          random_global on cifar_resnet_50. The published strategies take a fifth of the weights a
          level whatever fraction is asked for; here strategy.fraction is honoured
command   python -m experiments.run --config configs/lottery_random_resnet50.py
          --config.data.data_dir=DIR
presets   :rescaled (survivors grow by 1 / sqrt(1 - fraction)), :digits, :smoke (under a minute)
expected  no accuracies are published; not measured here
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, StrategyConfig, TrainConfig
from experiments.protocols.lottery.config import Lottery


def get_config(preset: str = "paper") -> Lottery:
    """The experiment under ``preset``."""
    paper = Lottery(
        model=common.model("resnet", depth=50, width=16),
        data=DataConfig("cifar10", augment="crop_flip"),
        train=TrainConfig(),
        strategy=StrategyConfig("random_global"),
        levels=16,
    )
    return common.pick(
        preset,
        paper=paper,
        rescaled=dataclasses.replace(paper, strategy=StrategyConfig("random_rescale_global")),
        digits=common.lottery_digits(paper),
        smoke=common.lottery_smoke(paper),
    )
