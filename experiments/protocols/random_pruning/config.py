"""Random pruning against theory."""

import dataclasses
import math
from typing import ClassVar

from experiments.config.options import LARGEST, require
from experiments.config.sections import Experiment

MOST = {"depth": 2**10, "input_dim": 2**20, "cnn_image_size": 2**10}


@dataclasses.dataclass(frozen=True)
class RandomPruning(Experiment):
    """Random pruning against the infinite-width kernel: Monte-Carlo means and deviations."""

    protocol: ClassVar = "ntk_theory"
    repeats: ClassVar = ("scaling_min_densities",)

    input_seed: int = 1
    """Seed of numpy's legacy generator, from which the recorded pair of inputs comes."""
    input_dim: int = 10
    """Dimension of the two inputs, which are normalised."""
    depth: int = 3
    """Hidden layers L; the kernel of a pruned network tends to density^L times the dense one."""
    sweep_widths: tuple[int, ...] = tuple(2**k for k in range(5, 14))
    """Widths of the sweep at one density: dense, pruned, and pruned with the input layer."""
    sweep_density: float = 0.5
    """Probability of keeping a weight in the sweep."""
    sweep_networks: int = 64
    """Networks per point of the sweep."""
    scaling_width: int = 1024
    """Width at density 1 where the width grows as density^-exponent."""
    scaling_exponents: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """Exponents of that growth; 0 keeps the width."""
    scaling_densities: tuple[float, ...] = tuple(k / 8 for k in range(8, 0, -1))
    """Densities of that growth."""
    scaling_min_densities: tuple[float, ...] = (0.125, 0.125, 0.125, 0.5)
    """The lowest of these densities that is run with each exponent, because the width explodes."""
    scaling_networks: int = 100
    """Networks per point of that growth."""
    law_widths: tuple[int, ...] = (128, 256, 512, 1024)
    """Widths from which the law of the required width is fitted, the same for every density."""
    law_densities: tuple[float, ...] = (1.0, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125)
    """Densities of that fit."""
    law_level: float = 0.2
    """Mean absolute deviation to reach, as a fraction of the limit."""
    law_networks: int = 512
    """Networks per point of that fit."""
    cnn_channels: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    """Channels of the convolutional networks; empty for none."""
    cnn_densities: tuple[float, ...] = (1.0, 0.5, 0.25)
    """Densities of the convolutional networks."""
    cnn_image_size: int = 8
    """Height and width of the two random images, which have 3 channels."""
    cnn_networks: int = 128
    """Networks per point of the convolutional sweep."""

    def __post_init__(self):
        super().__post_init__()
        for field in ("sweep_networks", "scaling_networks", "law_networks", "cnn_networks"):
            require(getattr(self, field) >= 2, field, getattr(self, field), "at least 2")
        for field in ("sweep_widths", "law_widths", "cnn_channels"):
            require(all(w >= 1 for w in getattr(self, field)), field, getattr(self, field),
                     "positive widths")  # fmt: skip
        require(bool(self.sweep_widths), "sweep_widths", self.sweep_widths, "at least one")
        for field in ("sweep_density", "scaling_densities", "law_densities", "cnn_densities"):
            value = getattr(self, field)
            values = value if isinstance(value, tuple) else (value,)
            require(all(0 < d <= 1 for d in values), field, value, "densities in (0, 1]")
        for field in ("input_dim", "depth", "scaling_width", "cnn_image_size"):
            most = MOST.get(field, LARGEST)
            require(1 <= getattr(self, field) <= most, field, getattr(self, field), f"1 to {most}")
        for field in ("law_widths", "law_densities"):
            require(len(set(getattr(self, field))) >= 2, field, getattr(self, field),
                     "at least two values, to fit a slope")  # fmt: skip
        require(len(self.scaling_min_densities) == len(self.scaling_exponents),
                 "scaling_min_densities", self.scaling_min_densities,
                 "one for each of scaling_exponents")  # fmt: skip
        for exponent, lowest in zip(
            self.scaling_exponents, self.scaling_min_densities, strict=True
        ):
            densities = [d for d in self.scaling_densities if d >= lowest]
            require(bool(densities), "scaling_min_densities", lowest,
                    f"one that scaling_densities reach, for exponent {exponent}")  # fmt: skip
            widths = [self.scaled_width(d, exponent) for d in densities]
            require(min(widths) >= 1 and max(widths) < LARGEST, "scaling_exponents", exponent,
                    f"one whose widths are 1 to 2^32 at densities {densities}")  # fmt: skip
        require(self.law_level > 0, "law_level", self.law_level, "more than 0")
        require(bool(self.cnn_densities) or not self.cnn_channels, "cnn_densities",
                self.cnn_densities, "at least one for cnn_channels")  # fmt: skip
        require(0 <= self.input_seed < 2**32, "input_seed", self.input_seed, "0 to 2^32 - 1")

    def scaled_width(self, density: float, exponent: float) -> float:
        """``scaling_width / density^exponent``; infinite beyond what a number holds."""
        try:
            return self.scaling_width / density**exponent
        except (OverflowError, ZeroDivisionError):
            return math.inf

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        of_cnns = () if self.cnn_channels else ("cnn_densities", "cnn_image_size", "cnn_networks")
        return {**super().idle(), **dict.fromkeys(of_cnns, "without cnn_channels")}
