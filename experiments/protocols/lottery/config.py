"""Iterative pruning with rewinding."""

import dataclasses
from typing import ClassVar

from experiments.config.criteria import StrategyConfig
from experiments.config.options import require
from experiments.config.sections import MOST_NETWORKS, DataConfig, Replicated, parse_duration


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Training on other images before level 0; the head is drawn anew afterwards."""

    duration: str = "0ep"
    """How long, as '10ep' or '500it'; the rest is as in train. 0ep: not at all."""
    data: DataConfig = DataConfig()
    """The images."""

    def __post_init__(self):
        parse_duration(self.duration, "pretraining.duration")

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        number, _ = parse_duration(self.duration)
        return {} if number > 0 else {"data": "without pretraining.duration"}


@dataclasses.dataclass(frozen=True)
class Lottery(Replicated):
    """Train, prune, rewind, level after level."""

    protocol: ClassVar = "lottery"

    strategy: StrategyConfig = StrategyConfig()
    """The pruning."""
    levels: int = 12
    """How often to prune; level 0 is the dense network."""
    rewind: str = "0ep"
    """The step of the dense training at which every level starts, as '2ep' or '500it'."""
    pretraining: Pretraining = Pretraining()
    """Training before level 0."""
    branches: tuple[str, ...] = ()
    """Branches run at the end with their default options, on all levels but the dense one."""

    def __post_init__(self):
        super().__post_init__()
        least = 1 if self.branches else 0
        require(least <= self.levels <= MOST_NETWORKS, "levels", self.levels,
                f"{least} to {MOST_NETWORKS}")  # fmt: skip
        parse_duration(self.rewind, "rewind")

    def trainings(self):
        levels = (self, self.replicates * (self.levels + 1))
        if parse_duration(self.pretraining.duration)[0] == 0:
            return [levels]
        return [(self.pretrained(), self.replicates), levels]

    def pretrained(self) -> "Lottery":
        """This config with the images and the duration of the pretraining."""
        train = dataclasses.replace(self.train, duration=self.pretraining.duration)
        return dataclasses.replace(self, data=self.pretraining.data, train=train)
