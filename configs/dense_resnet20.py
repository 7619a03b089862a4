"""The dense ResNet-20 on CIFAR-10: the level that pruned networks are measured against.

paper     He et al., arXiv 1512.03385; recipe of arXiv 2304.02840
command   python -m experiments.run --config configs/dense_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data, about 5 minutes on a laptop), :smoke (under a minute)
expected  not yet measured here
"""

from configs import common
from experiments.config import PruneConfig
from experiments.protocols.prune_and_train.config import PruneAndTrain


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    return common.choose(preset, common.cifar10_resnet20(PruneConfig("none")))
