"""PX on CIFAR ResNet-20.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820: 100 rounds, exponential
          schedule, 160 epochs. The published code takes 256 training images, or with its last
          version any number of every class; ten of every class here, as on the other sets
command   python -m experiments.run --config configs/px_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data, about 5 minutes), :smoke (under a minute)
expected  EXPECTED, below. The 160 epochs are not yet measured here; on CIFAR-10 (JPEG) the 100
          rounds take 4.3 minutes on 2 cores of an AMD EPYC that are shared with other work
"""

from configs import common
from experiments.config import Expected, digitised
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = (
    digitised(87.98, 0.03, "arXiv 2406.01820, figure 2 (error of the reading)", n=3),
    Expected(
        "test/accuracy", 56.8, "measured here", "CIFAR-10 (JPEG), 10,000 images", n=1,
        where={"data.name": "folder", "train.duration": "2ep", "train.schedule": "cosine"},
    ),
)  # fmt: skip


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    return common.choose(preset, common.cifar10_resnet20(common.px(0.8**10, 10, 100)))
