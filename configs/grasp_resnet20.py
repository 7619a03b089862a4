"""GraSP on ResNet-20, CIFAR-10: what each weight does to the gradient flow.

paper     Wang et al., arXiv 2002.07376; recipe of arXiv 2304.02840
command   python -m experiments.run --config configs/grasp_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data, about 5 minutes on a laptop), :smoke (under a minute)
expected  EXPECTED, below; not yet measured here
"""

from configs import common
from experiments.config import digitised
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = (digitised(87.43, 0.05, "arXiv 2304.02840, figure 1 (error of the reading)"),)


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    prune = common.pruning("grasp", density=0.8**10, num_examples=100, batch_size=100)
    return common.choose(preset, common.cifar10_resnet20(prune))
