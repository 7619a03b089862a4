"""Lottery tickets of LeNet-300-100 on the embedded digits: tickets, other weights, other masks.

paper     Frankle and Carbin, ICLR 2019, arXiv 1803.03635: LeNet-300-100, Adam at 1.2e-3, batches of
          60, a fifth of the weights a level, rewinding to the first step; MNIST there
command   python -m experiments.run --config configs/lottery_lenet_digits.py
presets   :smoke (under a minute)
expected  EXPECTED, below: measured here with 6.9 % of the weights, in 2.1 minutes on 2 cores of an
          AMD EPYC; learnt/step is the step at twice the dense networks' least test loss, and these
          reach 99.07 +- 0.40 %
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, Expected, TrainConfig
from experiments.protocols.lottery.config import Lottery

EXPECTED = tuple(
    Expected(
        f"{curve}.{measure}", value, "measured here", "360 test images, Student-t 95 %",
        plus_minus=plus_minus, n=3, within_run=True,
    )
    for curve, measure, value, plus_minus in (
        ("tickets", "test/accuracy", 98.98, 0.40),
        ("randomly_reinitialise", "test/accuracy", 98.24, 0.40),
        ("randomly_prune", "test/accuracy", 98.33, None),  # three times the same
        ("tickets", "learnt/step", 307, 33),
        ("randomly_reinitialise", "learnt/step", 912, 325),
        ("randomly_prune", "learnt/step", 1403, 318),
    )
)  # fmt: skip


def get_config(preset: str = "paper") -> Lottery:
    """The experiment under ``preset``."""
    config = Lottery(
        model=common.model("lenet_300_100"),
        data=DataConfig("digits"),
        train=TrainConfig(
            duration="120ep",
            batch_size=60,
            optimizer="adam",
            learning_rate=1.2e-3,
            schedule="constant",
            weight_decay=0.0,
            checkpoint_every=40,
        ),
        levels=12,
        replicates=3,
        branches=("randomly_reinitialise", "randomly_prune"),
    )
    return common.pick(preset, paper=config, smoke=smoke(config))


def smoke(config: Lottery) -> Lottery:
    """Two levels of two replicates, trained for four epochs, rewound to the first."""
    train = dataclasses.replace(config.train, duration="4ep")
    return dataclasses.replace(config, train=train, levels=2, replicates=2, rewind="1ep")
