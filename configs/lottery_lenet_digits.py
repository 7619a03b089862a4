"""Lottery tickets of LeNet-300-100 on the embedded digits: tickets, other weights, other masks.

paper     Frankle and Carbin, ICLR 2019, arXiv 1803.03635: LeNet-300-100, Adam at 1.2e-3, batches of
          60, a fifth of the weights a level, rewinding to the first step; MNIST there
command   python -m experiments.run --config configs/lottery_lenet_digits.py
presets   :smoke (under a minute)
measured  3 replicates, 360 test images, Student-t 95 %, 2.1 minutes on 2 cores of an AMD
          EPYC. With 6.9 % of the weights: tickets 98.98 +- 0.40 %, dense networks
          99.07 +- 0.40 %, reinitialised 98.24 +- 0.40 %, random masks 98.33 % (three times the
          same). Steps to twice the dense networks' least test loss: 307 +- 33 (tickets), 912 +- 325
          (reinitialised), 1403 +- 318 (random masks)
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, TrainConfig
from experiments.protocols.lottery.config import Lottery


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
