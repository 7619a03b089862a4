"""The one schema: what an experiment is. Frozen, validated, documented field by field.

An experiment is one of the ``Experiment`` classes; its class decides the protocol. Options of a
pruner or a model are not declared again: their classes are made from the factories' signatures.
"""

from experiments.config.kernels import Estimators, KernelPrediction, NtkTheory, Spectrum
from experiments.config.lottery import (
    BranchConfig,
    Lottery,
    LotteryBranch,
    Pretraining,
    Replicated,
    StrategyConfig,
    Train,
)
from experiments.config.pruning import PruneAndTrain, Segmentation, Transfer
from experiments.config.sections import (
    DataConfig,
    Experiment,
    ModelConfig,
    PruneConfig,
    TrainConfig,
    from_dict,
    parse_duration,
    to_dict,
)

__all__ = [
    "BranchConfig",
    "DataConfig",
    "Estimators",
    "Experiment",
    "KernelPrediction",
    "Lottery",
    "LotteryBranch",
    "ModelConfig",
    "NtkTheory",
    "Pretraining",
    "PruneAndTrain",
    "PruneConfig",
    "Replicated",
    "Segmentation",
    "Spectrum",
    "StrategyConfig",
    "Train",
    "TrainConfig",
    "Transfer",
    "from_dict",
    "parse_duration",
    "to_dict",
]
