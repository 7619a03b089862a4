"""Lottery tickets: the transition from level to level, controls, and morphisms of masks."""

from ntk_prune.lottery.controls import randomly_prune, randomly_reinitialise
from ntk_prune.lottery.levels import (
    RESCALING,
    STRATEGIES,
    level_density,
    next_mask,
    rescale,
    rewind,
)
from ntk_prune.lottery.morphisms import change_depth, split_units, widen

__all__ = [
    "RESCALING",
    "STRATEGIES",
    "change_depth",
    "level_density",
    "next_mask",
    "randomly_prune",
    "randomly_reinitialise",
    "rescale",
    "rewind",
    "split_units",
    "widen",
]
