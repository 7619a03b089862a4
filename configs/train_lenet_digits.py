"""Dense LeNet-300-100 on the embedded digits: the level that tickets are measured against.

recipe    that of lottery_lenet_digits.py; whole states are kept at steps 0, 100 and epoch 10
command   python -m experiments.run --config configs/train_lenet_digits.py
presets   :smoke (under a minute)
expected  EXPECTED, below: measured here
"""

import dataclasses

from configs import common, lottery_lenet_digits
from experiments.config import Expected
from experiments.protocols.train import Train

EXPECTED = (
    Expected(
        "test/accuracy", 99.07, "measured here",
        "level 0 of lottery_lenet_digits.py: 360 test images, Student-t 95 %",
        plus_minus=0.40, n=3, within_run=True,
    ),
)  # fmt: skip


def get_config(preset: str = "paper") -> Train:
    """The experiment under ``preset``."""
    recipe = lottery_lenet_digits.get_config()
    config = Train(
        model=recipe.model,
        data=recipe.data,
        train=recipe.train,
        replicates=recipe.replicates,
        save=("0ep", "100it", "10ep"),
    )
    train = dataclasses.replace(config.train, duration="3ep")
    tiny = dataclasses.replace(config, train=train, save=("0ep", "30it", "2ep"))
    return common.pick(preset, paper=config, smoke=tiny)
