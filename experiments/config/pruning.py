"""Experiments that prune a network, train what is left and measure it."""

import dataclasses
from typing import ClassVar

from experiments.config.sections import (
    DataConfig,
    Experiment,
    ModelConfig,
    PruneConfig,
    TrainConfig,
)
from experiments.options import require


@dataclasses.dataclass(frozen=True)
class PruneAndTrain(Experiment):
    """Prune at initialisation, train what is left, measure it on the test set."""

    protocol: ClassVar = "prune_and_train"

    model: ModelConfig = ModelConfig()
    """The network."""
    data: DataConfig = DataConfig()
    """The images."""
    prune: PruneConfig = PruneConfig()
    """The pruning."""
    train: TrainConfig = TrainConfig()
    """The training."""
    kernel_images: int = 0
    """Training images whose NTK is followed: its eigenvalues before and after pruning, its drift
    and label alignment in every epoch; 0 for none."""

    def __post_init__(self):
        super().__post_init__()
        require(self.kernel_images >= 0, "kernel_images", self.kernel_images, "0 or more")


@dataclasses.dataclass(frozen=True)
class Transfer(PruneAndTrain):
    """Prune and fine-tune a pretrained network under a ridge-regression head that stays fixed."""

    protocol: ClassVar = "transfer"

    ridge: float = 1.0
    """Weight of the squared norm of the head in its least-squares fit to the one-hot labels."""

    def __post_init__(self):
        super().__post_init__()
        require(self.ridge > 0, "ridge", self.ridge, "more than 0")
        require(self.prune.control != "reinit", "prune.control", self.prune.control,
                 "another: a head fitted to these weights stays")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Segmentation(PruneAndTrain):
    """Prune a network that labels every pixel, train what is left, measure its mean IoU."""

    protocol: ClassVar = "segmentation"

    pictures: int = 4
    """Test images whose predictions are drawn."""

    def __post_init__(self):
        super().__post_init__()
        require(self.pictures >= 1, "pictures", self.pictures, "at least 1")
        require(self.kernel_images == 0, "kernel_images", self.kernel_images,
                 "0: a kernel over all pixels is not followed")  # fmt: skip
        require(self.prune.name != "pxact", "prune.name", self.prune.name,
                 "another: it takes one label an image")  # fmt: skip
