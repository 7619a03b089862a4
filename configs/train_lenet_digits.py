"""Dense LeNet-300-100 on the embedded digits: the level that tickets are measured against.

recipe    that of lottery_lenet_digits.py; whole states are kept at steps 0, 100 and epoch 10
command   python -m experiments.run --config configs/train_lenet_digits.py
presets   :smoke (under a minute)
expected  99.07 +- 0.40 % (level 0 of that lottery: 3 replicates, 360 test images, Student-t 95 %)
"""

import dataclasses

from configs import common, lottery_lenet_digits
from experiments.protocols.train import Train


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
