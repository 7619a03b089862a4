"""PX on a pretrained ResNet-50, transferred to ten classes of ImageNet under a ridge head.

source    the code of arXiv 2406.01820 after the paper; no published numbers. 90 epochs, batches
          of 64, lr 5e-5 dropped at 30, 60 and 80, squared error to the one-hot labels under a
          ridge-regression head (weight 1) that stays as it is fitted, batch norm frozen; crops
          and colours as on ImageNet. There training and testing both draw from its validation
          images: prepare a folder train/<class>/, val/<class>/ of ten classes as you see fit
command   python -m experiments.run --config configs/px_resnet50_imagenet10.py
          --config.data.data_dir=DIR --config.model.weights=FILE
presets   :smoke (under a minute, embedded digits, new weights)
expected  not measured here
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, TrainConfig
from experiments.protocols.transfer import Transfer


def get_config(preset: str = "paper") -> Transfer:
    """The experiment under ``preset``."""
    file, source, network = common.PRETRAINED["paper"]
    paper = Transfer(
        model=dataclasses.replace(common.model(network), weights=file, weights_source=source),
        data=DataConfig("imagenet_folder", augment="moco"),
        prune=common.px(0.8**10, 10, 100),
        train=TrainConfig(
            duration="90ep",
            drops=("30ep", "60ep", "80ep"),
            batch_size=64,
            learning_rate=5e-5,
            loss="squared_error",
            batch_norm="frozen",
            eval_batch_size=100,
        ),
    )
    return common.pick(preset, paper=paper, smoke=common.smoke(paper))
