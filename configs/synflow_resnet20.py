"""SynFlow on ResNet-20, CIFAR-10: synaptic saliency without data, 100 rounds.

paper     Tanaka et al., arXiv 2006.05467; recipe of arXiv 2304.02840
command   python -m experiments.run --config configs/synflow_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data, 5 minutes on a laptop), :smoke (under a minute)
expected  not yet measured here; digitised from
          arXiv 2304.02840, figure 1: 87.0 +- 0.3 % at density 0.107
"""

from configs import common
from experiments.protocols.prune_and_train.config import PruneAndTrain


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    prune = common.pruning("synflow", density=0.8**10, num_examples=100, batch_size=100)
    return common.choose(preset, common.cifar10_resnet20(prune))
