"""Magnitude at initialisation on ResNet-20, CIFAR-10.

paper     Baseline of arXiv 2304.02840 and its recipe
command   python -m experiments.run --config configs/magnitude_resnet20.py \
              --config.data.data_dir=DIR
presets   :digits (embedded data, 5 minutes on a laptop), :smoke (under a minute)
expected  not yet measured here
"""

from configs import common
from experiments.protocols.prune_and_train.config import PruneAndTrain


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    prune = common.pruning("magnitude", density=0.8**10, num_examples=100, batch_size=100)
    return common.choose(preset, common.cifar10_resnet20(prune))
