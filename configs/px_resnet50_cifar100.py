"""PX on a pretrained ResNet-50, fine-tuned on CIFAR-100 at 224 pixels.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820, figure 3: 100 rounds, ten
          images of every class; 182 epochs, batches of 256, lr 0.1 dropped at 91 and 136
command   python -m experiments.run --config configs/px_resnet50_cifar100.py
          --config.data.data_dir=DIR --config.model.weights=FILE
presets   :moco and :clip (other weights than ImageNet's), :smoke (under a minute, new weights)
expected  about 75.4 % (ImageNet), 75.6 % (MoCo v2), 74.9 % (CLIP) at
          density 0.107, digitised from figure 3, which are not printed numbers; not measured here
"""

from configs import common
from experiments.protocols.prune_and_train.config import PruneAndTrain


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    return common.pretrained(preset, "cifar100", common.px(0.8**10, 100, 100))
