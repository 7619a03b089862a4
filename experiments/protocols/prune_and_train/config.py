"""Prune at initialisation, then train."""

import dataclasses
from typing import ClassVar

from experiments.config.criteria import PruneConfig
from experiments.config.options import require
from experiments.config.sections import DataConfig, Experiment, ModelConfig, TrainConfig


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

    hessian_images: int = 0
    """Training images of the dense network's Hessian before pruning: how much of its top
    eigenspace the mask keeps, and the largest one-shot sparsity that it predicts; 0 for none."""

    def __post_init__(self):
        super().__post_init__()
        require(self.kernel_images >= 0, "kernel_images", self.kernel_images, "0 or more")
        require(self.hessian_images == 0 or self.hessian_images >= 2, "hessian_images",
                self.hessian_images, "0, or at least 2, which make two batches")  # fmt: skip

    def trainings(self):
        return [(self, 1)]
