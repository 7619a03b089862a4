"""Lottery tickets of LeNet-300-100 on the embedded digits."""

import dataclasses

from configs import common
from experiments.config import DataConfig, Lottery, TrainConfig


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
