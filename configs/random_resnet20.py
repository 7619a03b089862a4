"""Random pruning on ResNet-20, CIFAR-10: the baseline every criterion has to beat.

paper     Baseline of arXiv 2304.02840 and its recipe
command   python -m experiments.run --config configs/random_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data, 5 minutes on a laptop), :smoke (under a minute)
expected  EXPECTED, below; not yet measured here
"""

from configs import common
from experiments.config import digitised
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = (digitised(86.3, 0.3, "arXiv 2304.02840, figure 1 (error of the reading)"),)


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    prune = common.pruning("random", density=0.8**10, num_examples=100, batch_size=100)
    return common.choose(preset, common.cifar10_resnet20(prune))
