"""NTK-SAP on VGG-16 with batch norm, CIFAR-100.

paper     Wang, Li and Sun, ICLR 2023, arXiv 2304.02840; T = 100, R = 1, 1000 random inputs. The
          published code takes batches of 256; 250 divides the 1000 evenly
command   python -m experiments.run --config configs/ntksap_vgg16.py --config.data.data_dir=DIR
presets   :digits (embedded data), :smoke (under a minute)
expected  EXPECTED, below; not yet measured here
"""

from configs import common
from experiments.config import Expected
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = (
    Expected(
        "test/accuracy", 73.28, "printed",
        "arXiv 2304.02840, table 13 (standard deviation), original CIFAR-100", plus_minus=0.32,
    ),
)  # fmt: skip


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    prune = common.pruning(
        "ntksap", density=0.8**10, num_examples=1000, batch_size=250, num_rounds=100, num_draws=1
    )
    return common.choose(preset, common.cifar100_vgg16(prune))
