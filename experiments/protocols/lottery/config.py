"""Lottery tickets and the branches from them."""

import dataclasses
from typing import ClassVar

from experiments.config.options import DEFAULTS, FactoryChoice, Options, choice, require
from experiments.config.sections import (
    DataConfig,
    Experiment,
    Replicated,
    StrategyConfig,
    parse_duration,
)
from experiments.protocols.lottery.branches import BRANCHES


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Training on other images before level 0; the head is drawn anew afterwards."""

    duration: str = "0ep"
    """How long, as '10ep' or '500it'; the rest is as in train. 0ep: not at all."""
    data: DataConfig = DataConfig()
    """The images."""

    def __post_init__(self):
        parse_duration(self.duration, "pretraining.duration")


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
        require(self.levels >= least, "levels", self.levels, f"{least} or more")
        parse_duration(self.rewind, "rewind")
        for name in self.branches:
            choice("branches", name, BRANCHES)


@dataclasses.dataclass(frozen=True)
class BranchConfig(FactoryChoice):
    """What is done with the tickets of another run."""

    registry: ClassVar = BRANCHES
    section: ClassVar = "branch"

    name: str = "randomly_reinitialise"
    """retrain, randomly_prune, randomly_reinitialise, oneshot, prune_early, increase_width,
    widen_mask, change_depth or linear_connectivity."""
    options: Options = DEFAULTS
    """Arguments of the branch."""

    def __post_init__(self):
        self._validate_choice()


@dataclasses.dataclass(frozen=True)
class LotteryBranch(Experiment):
    """Go on from the levels of a lottery. Its seeds are those of the parent; ``seed`` adds to them
    where the branch draws something new."""

    protocol: ClassVar = "lottery_branch"

    parent: str | None = None
    """Run directory of a finished lottery or branch; None makes one from recipe in this run."""
    recipe: str = "configs/lottery_lenet_digits.py:smoke"
    """Config of the parent that is made where none is given."""
    branch: BranchConfig = BranchConfig()
    """The branch."""
    levels: tuple[int, ...] = ()
    """Levels of the parent; empty for all that the branch makes sense for."""
    changes: tuple[str, ...] = ()
    """Fields of the parent's config that change for this training, as 'train.duration=80ep'."""

    def __post_init__(self):
        super().__post_init__()
        require(all(level >= 0 for level in self.levels), "levels", self.levels, "0 or more")
        taken = [field.name for field in dataclasses.fields(Replicated)]
        for name in self.changed():
            expected = f"a field of {', '.join(taken)}: the tickets are as their parent made them"
            require(name.split(".")[0] in taken, "changes", name, expected)

    def changed(self) -> dict[str, str]:
        """``changes`` by field. A word without ``=`` goes on with the list before it."""
        found: dict[str, str] = {}
        for word in self.changes:
            name, equals, value = word.partition("=")
            require(bool(equals or found), "changes", word,
                    "a field and its value as 'data.name=cifar100'")  # fmt: skip
            if equals:
                last = name
                found[name] = value
            else:
                found[last] += f",{word}"
        return found
