"""PX on ResNet-50, ImageNet.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820: 100 rounds, ten images of
          every class; 90 epochs, batches of 448, lr 0.1 dropped at 30, 60 and 80; crops with
          jittered colours as MoCo has them
command   python -m experiments.run --config configs/px_resnet50_imagenet.py
          --config.data.data_dir=DIR --config.data.num_workers=16, where DIR holds train/, val/.
          With --config.data.name=imagenet DIR is that of TensorFlow Datasets, which knows labels
          only with the images: add --config.prune.balanced=False, as the first releases had it
presets   :sparse (density 0.044), :smoke (under a minute)
expected  EXPECTED, below; not measured here
"""

from configs import common
from experiments.config import DataConfig, Expected, TrainConfig
from experiments.protocols.prune_and_train.config import PruneAndTrain

_TABLE = "arXiv 2406.01820, table 1 (standard deviation)"
EXPECTED = (
    Expected("test/accuracy", 68.11, "printed", _TABLE, plus_minus=0.29, n=3),
    Expected("test/accuracy", 60.28, "printed", _TABLE, plus_minus=0.32, n=3, preset="sparse"),
)


def imagenet(density: float) -> PruneAndTrain:
    """The paper's recipe at a density."""
    return PruneAndTrain(
        model=common.model("imagenet_resnet", depth=50),
        data=DataConfig("imagenet_folder", augment="moco"),
        prune=common.px(density, 1000, 100),
        train=TrainConfig(duration="90ep", drops=("30ep", "60ep", "80ep"), batch_size=448),
    )


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    paper = imagenet(0.8**10)
    return common.pick(preset, paper=paper, sparse=imagenet(0.8**14), smoke=common.smoke(paper))
