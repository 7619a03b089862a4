"""NTK-SAP on ResNet-20, CIFAR-10: the main experiment.

paper     Wang, Li and Sun, ICLR 2023, arXiv 2304.02840; T = 20, R = 5, one batch of 100 random
          inputs, perturbation of standard deviation 0.01 (the paper's variance 1e-4)
command   python -m experiments.run --config configs/ntksap_resnet20.py --config.data.data_dir=DIR
presets   :digits (embedded data, about 5 minutes on a laptop), :smoke (under a minute)
expected  EXPECTED, below. :digits takes 2 minutes of CPU time on 2 cores; on CIFAR-10 (JPEG) T = 20
          and R = 5 complete, then only 2 epochs, 11 minutes on 2 busy cores. The 160 epochs are not
          yet measured
"""

from configs import common
from experiments.config import Expected
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = (
    Expected(
        "test/accuracy", 87.86, "printed",
        "arXiv 2304.02840, table 12 (standard deviation), original CIFAR-10", plus_minus=0.13,
    ),
    Expected(
        "test/accuracy", 100 * 357 / 360, "measured here", "357 of 360 images", n=1,
        preset="digits",
    ),
    Expected(
        "test/accuracy", 64.8, "measured here", "CIFAR-10 (JPEG), 10,000 images", n=1,
        where={"data.name": "folder", "train.duration": "2ep", "train.schedule": "cosine"},
    ),
)  # fmt: skip


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    prune = common.pruning(
        "ntksap", density=0.8**10, num_examples=100, batch_size=100, num_rounds=20, num_draws=5
    )
    return common.choose(preset, common.cifar10_resnet20(prune))
