"""PX on VGG-16 with batch norm, CIFAR-100.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820: 100 rounds, ten images of
          every class
command   python -m experiments.run --config configs/px_vgg16.py --config.data.data_dir=DIR
presets   :digits (embedded data), :smoke (under a minute)
expected  about 72.63 % at density 0.107, digitised from figure 2, which is not a printed number;
          not yet measured here
"""

from configs import common
from experiments.protocols.prune_and_train.config import PruneAndTrain


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    return common.choose(preset, common.cifar100_vgg16(common.px(0.8**10, 100, 250)))
