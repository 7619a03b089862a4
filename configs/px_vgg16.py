"""PX on VGG-16 with batch norm, CIFAR-100.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820: 100 rounds, ten images of
          every class
command   python -m experiments.run --config configs/px_vgg16.py --config.data.data_dir=DIR
presets   :digits (embedded data), :smoke (under a minute)
expected  EXPECTED, below: digitised; not yet measured here
"""

from configs import common
from experiments.config import digitised
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = (digitised(72.63, 0.03, "arXiv 2406.01820, figure 2 (error of the reading)", n=3),)


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    return common.choose(preset, common.cifar100_vgg16(common.px(0.8**10, 100, 250)))
