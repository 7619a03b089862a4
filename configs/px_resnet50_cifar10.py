"""PX on a pretrained ResNet-50, fine-tuned on CIFAR-10 at 224 pixels.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820, figure 3: 100 rounds, ten
          images of every class; 182 epochs, batches of 256, lr 0.1 dropped at 91 and 136
command   python -m experiments.run --config configs/px_resnet50_cifar10.py
          --config.data.data_dir=DIR --config.model.weights=FILE
presets   :moco and :clip (other weights than ImageNet's), :smoke (under a minute, new weights)
expected  EXPECTED, below: digitised; not measured here
"""

from configs import common
from experiments.config import digitised
from experiments.protocols.prune_and_train.config import PruneAndTrain

_FIGURE = "arXiv 2406.01820, figure 3 (error of the reading)"
EXPECTED = (
    digitised(93.46, 0.03, _FIGURE, n=3),
    digitised(93.11, 0.03, _FIGURE, n=3, preset="moco"),
    digitised(93.51, 0.03, _FIGURE, n=3, preset="clip"),
)


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    return common.pretrained(preset, "cifar10", common.px(0.8**10, 10, 100))
