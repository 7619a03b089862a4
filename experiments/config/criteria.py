"""The parts of configs that say what is pruned, by which criterion, on which examples."""

import dataclasses
from typing import ClassVar, Literal

from experiments.config.options import DEFAULTS, FactoryChoice, Options, require
from ntk_prune.lottery import STRATEGIES
from ntk_prune.pruners import PRUNERS
from ntk_prune.types import Pruner


@dataclasses.dataclass(frozen=True)
class CriterionConfig(FactoryChoice):
    """A criterion that prunes, and the examples that it sees."""

    registry: ClassVar = PRUNERS
    section: ClassVar = "prune"
    makes: ClassVar = Pruner

    name: str = "magnitude"
    """The criterion, or your own as package.module:factory."""
    options: Options = DEFAULTS
    """Arguments of the criterion."""
    num_examples: int = 100
    """Training images that the criterion sees (NTK-SAP takes only their number and shape)."""
    batch_size: int = 100
    """Images per batch of the criterion; divides num_examples."""
    balanced: bool = False
    """Take the same number of images from every class."""

    def __post_init__(self):
        self._validate_choice()
        require(self.batch_size >= 1, f"{self.section}.batch_size", self.batch_size, "at least 1")
        require(
            self.num_examples >= 1 and self.num_examples % self.batch_size == 0,
            f"{self.section}.num_examples", self.num_examples,
            f"a positive multiple of {self.section}.batch_size ({self.batch_size})",
        )  # fmt: skip

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        pruner = self.make()
        if pruner is None:
            return {}
        examples = {
            "examples": (),
            "shapes": ("balanced",),
            "nothing": ("num_examples", "batch_size", "balanced"),
        }[pruner.reads]
        return {
            **dict.fromkeys(examples, f"with {self.name}, which takes no such examples"),
            **{f"options.{name}": "beside the other options" for name in pruner.unused},
        }


@dataclasses.dataclass(frozen=True)
class PruneConfig(CriterionConfig):
    """What is pruned before training, by which criterion, on which examples."""

    registry: ClassVar = {"none": None, **PRUNERS}

    name: str = "ntksap"
    """The criterion, or your own as package.module:factory, or none for the dense network."""
    density: float = 0.107374
    """Kept fraction of the prunable weights, in (0, 1]."""
    control: Literal["none", "shuffle", "reinit", "invert"] = "none"
    """Sanity check: shuffle the mask within layers, train other weights, or keep the lowest."""

    def __post_init__(self):
        super().__post_init__()
        require(0 < self.density <= 1, "prune.density", self.density, "a number in (0, 1]")
        require(self.name != "none" or self.control == "none", "prune.control", self.control,
                "none for the dense network")  # fmt: skip

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        if self.name != "none":
            return super().idle()
        fields = ("density", "num_examples", "batch_size", "balanced")
        return dict.fromkeys(fields, "where prune.name is none")


@dataclasses.dataclass(frozen=True)
class StrategyConfig(CriterionConfig):
    """What a level removes, by which criterion, on which weights and examples."""

    registry: ClassVar = STRATEGIES
    section: ClassVar = "strategy"

    name: str = "sparse_global"
    """sparse_global (magnitude), sparse_layerwise, random_global, random_rescale_global, or a
    criterion such as snip, synflow or ntksap."""
    fraction: float = 0.2
    """Share of the surviving weights that every level removes, in (0, 1)."""
    weights: Literal["trained", "rewound"] = "trained"
    """What the criterion looks at: the level before after its training, or before it."""

    def __post_init__(self):
        super().__post_init__()
        require(0 < self.fraction < 1, "strategy.fraction", self.fraction, "a number in (0, 1)")

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        if not self.name.startswith("random"):
            return super().idle()
        return {**super().idle(), "weights": f"with {self.name}, which looks at none"}
