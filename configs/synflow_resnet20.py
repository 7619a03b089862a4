"""SynFlow on ResNet-20, CIFAR-10: synaptic saliency without data, 100 rounds.

paper     Tanaka et al., arXiv 2006.05467; recipe of arXiv 2304.02840
command   python -m experiments.run --config configs/synflow_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data, 5 minutes on a laptop), :smoke (under a minute)
expected  EXPECTED, below; not yet measured here
"""

from configs import common
from experiments.config import digitised
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = (digitised(87.0, 0.3, "arXiv 2304.02840, figure 1 (error of the reading)"),)


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    prune = common.pruning("synflow", density=0.8**10, num_examples=100, batch_size=100)
    return common.choose(preset, common.cifar10_resnet20(prune))
