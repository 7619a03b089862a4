"""PX on ResNet-18 with a 3x3 stem, Tiny-ImageNet.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820: 100 rounds, ten images of
          every class; 200 epochs, lr 0.2 dropped at 100 and 150
command   python -m experiments.run --config configs/px_resnet18_tiny_imagenet.py
          --config.data.data_dir=DIR, the folder of tiny-imagenet-200.zip or what it unpacks to
presets   :smoke (under a minute)
expected  EXPECTED, below: digitised; not yet measured here. NTK-SAP's paper has another network
          (7x7 stem, 1000 outputs): their numbers do not compare
"""

from configs import common
from experiments.config import DataConfig, TrainConfig, digitised
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = (digitised(58.44, 0.05, "arXiv 2406.01820, figure 2 (error of the reading)", n=3),)


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    paper = PruneAndTrain(
        model=common.model("imagenet_resnet", depth=18, stem="3x3"),
        data=DataConfig("tiny_imagenet", augment="resized_crop_flip"),
        prune=common.px(0.8**10, 200, 250),
        train=TrainConfig(
            duration="200ep", drops=("100ep", "150ep"), batch_size=256, learning_rate=0.2
        ),
    )
    return common.pick(preset, paper=paper, smoke=common.smoke(paper))
