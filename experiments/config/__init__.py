"""The schema that experiments share. Frozen, validated, documented field by field.

An experiment is a subclass of ``Experiment``, declared by its protocol. Options of a pruner or a
model are not declared again: their classes are made from the factories' signatures.
"""

from experiments.config.criteria import CriterionConfig, PruneConfig, StrategyConfig
from experiments.config.expected import Expected, digitised
from experiments.config.loading import from_dict, to_dict
from experiments.config.sections import (
    DataConfig,
    Experiment,
    ModelConfig,
    Replicated,
    TrainConfig,
    parse_duration,
)

__all__ = [
    "CriterionConfig",
    "DataConfig",
    "Expected",
    "Experiment",
    "ModelConfig",
    "PruneConfig",
    "Replicated",
    "StrategyConfig",
    "TrainConfig",
    "digitised",
    "from_dict",
    "parse_duration",
    "to_dict",
]
