"""The grid of the three-regime model: temperature x density x dense seeds x retrain seeds."""

import dataclasses
import math
from typing import ClassVar, Literal, NamedTuple

from experiments.comparison import Settings
from experiments.config.criteria import CriterionConfig
from experiments.config.loading import exact
from experiments.config.options import make_options, require
from experiments.config.sections import (
    MOST_NETWORKS,
    DataConfig,
    Experiment,
    ModelConfig,
    TrainConfig,
    parse_duration,
)
from ntk_prune.pruners import PRUNERS

Kind = Literal["stopping_epoch", "batch_size", "sam_rho"]


@dataclasses.dataclass(frozen=True)
class TemperatureConfig:
    """What makes the training of the dense network hotter or colder."""

    name: Kind = "stopping_epoch"
    """stopping_epoch: when one and the same training is stopped (fewer epochs are hotter);
    batch_size: images a step at a fixed number of iterations (smaller batches are hotter); sam_rho:
    radius of sharpness-aware steps (larger radii are hotter)."""
    values: tuple[float, ...] = tuple(float(epoch) for epoch in range(10, 161, 10))
    """The temperatures, in any order."""

    def __post_init__(self):
        least = 0 if self.name == "sam_rho" else 1
        for value in self.values:
            is_whole = self.name == "sam_rho" or value % 1 == 0
            require(is_whole and least <= value < math.inf, "temperature.values", value,
                    f"{least} or more, whole unless it is a radius")  # fmt: skip
        require(bool(self.values), "temperature.values", self.values, "at least one")
        unique = len(set(self.values)) == len(self.values)
        require(unique, "temperature.values", self.values, "every temperature once")

    def from_hottest(self) -> tuple[float, ...]:
        """The values from the highest temperature to the lowest."""
        return tuple(sorted(self.values, reverse=self.name == "sam_rho"))


@dataclasses.dataclass(frozen=True)
class RegimeConfig:
    """The thresholds of the regimes, which the paper does not give."""

    connectivity: float = 0.1
    """A cell is connected where the mean published connectivity is above minus this."""
    similarity: float | None = None
    """A connected cell is similar from this CKA up; None: the median over the connected cells."""
    dead: float = 0.9
    """A cell is dead, and has no regime, where the training error is above this share of that of
    guessing."""

    def __post_init__(self):
        require(0 < self.connectivity < 1, "regimes.connectivity", self.connectivity,
                "a number in (0, 1)")  # fmt: skip
        require(0 < self.dead <= 1, "regimes.dead", self.dead, "a number in (0, 1]")
        similarity = self.similarity
        require(similarity is None or 0 <= similarity <= 1, "regimes.similarity", similarity,
                "a number in [0, 1] or None")  # fmt: skip


class Stage(NamedTuple):
    """A network, its data and its training: what ``factories.Recipe`` takes."""

    model: ModelConfig
    data: DataConfig
    train: TrainConfig


@dataclasses.dataclass(frozen=True)
class ThreeRegime(Experiment):
    """Train dense networks, prune, retrain, and measure pairs of retrainings, cell by cell.

    Dense seed ``d`` is ``seed + d``; it draws the weights and the order of the data. Retrain seed
    ``r`` draws the order and augmentation of the data, the same in all cells. The grid may grow
    in its directory: ``grows`` names what may become longer or larger.
    """

    protocol: ClassVar = "three_regime"
    grows: ClassVar = ("temperature.values", "densities", "dense_seeds", "retrain_seeds")

    model: ModelConfig = ModelConfig("preresnet")
    """The network."""
    data: DataConfig = DataConfig("cifar10", augment="crop_flip")
    """The images."""
    dense: TrainConfig = TrainConfig(batch_size=64)
    """The training before pruning, changed by the temperature."""
    temperature: TemperatureConfig = TemperatureConfig()
    """The first axis of the grid."""
    prune: CriterionConfig = CriterionConfig(
        "magnitude", make_options(PRUNERS["magnitude"], {"scope": "uniform", "exclude": ("fc",)})
    )
    """The pruning of the trained network, in one shot."""
    densities: tuple[float, ...] = (0.05, 0.06, 0.07, 0.08, 0.1, 0.14, 0.2, 0.4, 0.8)
    """The second axis of the grid, the load: kept fractions of the prunable weights."""
    dense_seeds: int = 3
    """Dense networks of every temperature."""
    retrain_seeds: int = 3
    """Retrainings of every mask; all pairs of them are measured."""
    retrain: TrainConfig = TrainConfig(batch_size=64)
    """The training after pruning, from the pruned weights and fresh moments."""
    measure: Settings = Settings(hessian_images=0, kernel_images=0)
    """What is measured of every pair of retrainings, and on how much data."""
    regimes: RegimeConfig = RegimeConfig()
    """The thresholds of the regimes."""
    at_once: int | None = None
    """Networks trained as one program; None: as many as pay off on this backend."""

    def __post_init__(self):
        super().__post_init__()
        for density in self.densities:
            require(0 < density <= 1, "densities", density, "numbers in (0, 1]")
        require(bool(self.densities), "densities", self.densities, "at least one")
        require(1 <= self.dense_seeds <= MOST_NETWORKS, "dense_seeds", self.dense_seeds,
                f"1 to {MOST_NETWORKS}")  # fmt: skip
        require(2 <= self.retrain_seeds <= MOST_NETWORKS, "retrain_seeds", self.retrain_seeds,
                f"2 to {MOST_NETWORKS}: pairs of retrainings are measured")  # fmt: skip
        require(self.at_once is None or self.at_once >= 1, "at_once", self.at_once, "at least 1")
        require(self.seed + self.dense_seeds <= 2**32, "seed", self.seed,
                "one whose dense seeds end before 2^32")  # fmt: skip
        self._check_temperature()

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        kind = self.temperature.name
        why = "where temperature.values stand in its place"
        replaced = () if kind == "stopping_epoch" else (f"dense.{kind}",)
        return {**super().idle(), **dict.fromkeys(replaced, why)}

    def _check_temperature(self) -> None:
        """ValueError for temperatures that the training of the dense network does not allow."""
        number, unit = parse_duration(self.dense.duration, "dense.duration")
        kind, values = self.temperature.name, self.temperature.values
        if kind == "batch_size":
            require(unit == "it", "dense.duration", self.dense.duration,
                    "iterations as '62400it', the same for all batch sizes")  # fmt: skip
        if kind == "stopping_epoch":
            require(unit == "ep" and max(values) <= number, "temperature.values", max(values),
                    f"epochs within dense.duration ({self.dense.duration})")  # fmt: skip
        self.dense_stages()

    def dense_stages(self) -> dict[str, Stage]:
        """The trainings of dense networks by the name of their directory."""
        kind = self.temperature.name
        if kind == "stopping_epoch":
            return {"all": Stage(self.model, self.data, self.dense)}
        return {
            f"{kind}_{exact(value)}": Stage(
                self.model,
                self.data,
                dataclasses.replace(
                    self.dense, **{kind: int(value) if kind == "batch_size" else value}
                ),
            )
            for value in self.temperature.from_hottest()
        }

    def retraining(self) -> Stage:
        """The training of pruned networks."""
        return Stage(self.model, self.data, self.retrain)

    def trainings(self):
        masks = len(self.temperature.values) * len(self.densities) * self.dense_seeds
        dense = [(stage, self.dense_seeds) for stage in self.dense_stages().values()]
        return [*dense, (self.retraining(), masks * self.retrain_seeds)]
