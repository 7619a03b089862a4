"""PX on CIFAR ResNet-20.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820: 100 rounds, exponential
          schedule, 160 epochs. The published code takes 256 training images, or with its last
          version any number of every class; ten of every class here, as on the other sets
command   python -m experiments.run --config configs/px_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data, about 5 minutes), :smoke (under a minute)
expected  about 87.98 % at density 0.107, digitised from figure 2, which is not a printed number.
          The 160 epochs are not yet measured here. CIFAR-10 (JPEG), one seed: the 100 rounds take
          4.3 minutes on 2 cores of an AMD EPYC that are shared with other work; 2 epochs with a
          cosine then reach 56.8 % (n = 10,000 images):
          --config.data.name=folder --config.train.duration=2ep --config.train.schedule=cosine
"""

from configs import common
from experiments.protocols.prune_and_train.config import PruneAndTrain


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    return common.choose(preset, common.cifar10_resnet20(common.px(0.8**10, 10, 100)))
