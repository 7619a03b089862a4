"""PX on DeepLabV3+ with a pretrained ResNet-50, Pascal VOC 2012.

paper     Iurada, Ciccone and Tommasi, CVPR 2024, arXiv 2406.01820, figure 4: 100 rounds on about
          ten images of every class; 80 epochs on the train split, batches of 4, lr 1e-2 and a
          tenth of it in the backbone, dropped at 50 and 60; output stride 8, 513 pixels
command   python -m experiments.run --config configs/px_deeplab_voc2012.py
          --config.data.data_dir=VOCdevkit --config.model.weights=FILE
presets   :moco and :dino (other weights than ImageNet's), :smoke (under a minute: embedded digits)
expected  EXPECTED, below: mean IoU, digitised; not measured here
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, TrainConfig, digitised
from experiments.protocols.segmentation.run import Segmentation

_FIGURE = "arXiv 2406.01820, figure 4 (error of the reading)"
EXPECTED = (
    digitised(53.9, 0.2, _FIGURE, measure="test/miou", n=3),
    digitised(53.3, 0.2, _FIGURE, measure="test/miou", n=3, preset="moco"),
    digitised(49.3, 0.2, _FIGURE, measure="test/miou", n=3, preset="dino"),
)


def voc(weights: str) -> Segmentation:
    """The paper's recipe from the weights of a preset."""
    file, source, _ = common.PRETRAINED[weights]
    network = common.model("deeplab", depth=50, output_stride=8)
    return Segmentation(
        model=dataclasses.replace(network, weights=file, weights_source=source),
        data=DataConfig("voc2012", image_size=513, num_workers=4),
        # Pixels have labels, images have none: the examples are drawn from all.
        prune=common.pruning("px", density=0.8**10, num_examples=212, batch_size=4),
        train=TrainConfig(
            duration="80ep",
            drops=("50ep", "60ep"),
            batch_size=4,
            learning_rate=1e-2,
            module_rates=("backbone=0.1",),
            eval_batch_size=4,
        ),
    )


def smoke() -> Segmentation:
    """Every step on a tiny network and the embedded digits."""
    return Segmentation(
        model=common.model("deeplab", depth=18, width=4),
        data=DataConfig("digits_segmentation"),
        prune=common.pruning("px", density=0.5, num_examples=8, batch_size=4, num_rounds=2),
        train=TrainConfig(
            duration="2ep", schedule="cosine", batch_size=16, module_rates=("backbone=0.1",)
        ),
    )


def get_config(preset: str = "paper") -> Segmentation:
    """The experiment under ``preset``."""
    presets = {name: voc(name) for name in ("paper", "moco", "dino")}
    return common.pick(preset, **presets, smoke=smoke())
