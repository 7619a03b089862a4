"""PX on a pretrained ResNet-50, fine-tuned on CIFAR-100 at 224 pixels.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820, figure 3: 100 rounds, ten
          images of every class; 182 epochs, batches of 256, lr 0.1 dropped at 91 and 136
command   python -m experiments.run --config configs/px_resnet50_cifar100.py
          --config.data.data_dir=DIR --config.model.weights=FILE
presets   :moco and :clip (other weights than ImageNet's), :smoke (under a minute, new weights)
expected  EXPECTED, below: digitised; not measured here
"""

from configs import common
from experiments.config import digitised
from experiments.protocols.prune_and_train.config import PruneAndTrain

_FIGURE = "arXiv 2406.01820, figure 3 (error of the reading)"
EXPECTED = (
    digitised(75.4, 0.1, _FIGURE, n=3),
    digitised(75.6, 0.1, _FIGURE, n=3, preset="moco"),
    digitised(74.9, 0.1, _FIGURE, n=3, preset="clip"),
)


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    return common.pretrained(preset, "cifar100", common.px(0.8**10, 100, 100))
