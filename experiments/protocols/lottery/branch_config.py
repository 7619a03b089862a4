"""What is done with the tickets of a lottery."""

import dataclasses
from typing import ClassVar

from experiments.config.options import DEFAULTS, FactoryChoice, Options, require
from experiments.config.sections import Experiment, Replicated
from experiments.protocols.lottery.branches import BRANCHES


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
    repeats: ClassVar = ("levels", "changes")

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

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        replaced = () if self.parent is None else ("recipe",)
        return {**super().idle(), **dict.fromkeys(replaced, "beside parent")}

    def changed(self) -> dict[str, str]:
        """``changes`` by field. A word without ``=`` goes on with the list before it."""
        fields: dict[str, str] = {}
        for word in self.changes:
            name, equals, value = word.partition("=")
            require(bool(equals or fields), "changes", word,
                    "a field and its value as 'data.name=cifar100'")  # fmt: skip
            if equals:
                last = name
                fields[name] = value
            else:
                fields[last] += f",{word}"
        return fields
