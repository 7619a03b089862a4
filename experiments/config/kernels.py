"""Experiments on the kernels of pruned networks and on the theory about them."""

import dataclasses
from typing import ClassVar, Literal

from experiments.config.sections import DataConfig, Experiment, ModelConfig, PruneConfig
from experiments.options import choice, require
from ntk_prune.models.mlp import ACTIVATIONS
from ntk_prune.pruners import PRUNERS


@dataclasses.dataclass(frozen=True)
class NtkTheory(Experiment):
    """Random pruning against the infinite-width kernel: Monte-Carlo means and deviations."""

    protocol: ClassVar = "ntk_theory"

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
        for field in ("sweep_density", "scaling_densities", "law_densities", "cnn_densities"):
            value = getattr(self, field)
            values = value if isinstance(value, tuple) else (value,)
            require(all(0 < d <= 1 for d in values), field, value, "densities in (0, 1]")
        for field in ("input_dim", "depth", "scaling_width", "cnn_image_size"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        for field in ("law_widths", "law_densities"):
            require(len(set(getattr(self, field))) >= 2, field, getattr(self, field),
                     "at least two values, to fit a slope")  # fmt: skip
        require(len(self.scaling_min_densities) == len(self.scaling_exponents),
                 "scaling_min_densities", self.scaling_min_densities,
                 "one for each of scaling_exponents")  # fmt: skip
        require(self.law_level > 0, "law_level", self.law_level, "more than 0")
        require(0 <= self.input_seed < 2**32, "input_seed", self.input_seed, "0 to 2^32 - 1")


@dataclasses.dataclass(frozen=True)
class Spectrum(Experiment):
    """Eigenvalues of the NTK at initialisation, dense and pruned by several criteria."""

    protocol: ClassVar = "spectrum"

    model: ModelConfig = ModelConfig()
    """The network."""
    data: DataConfig = DataConfig()
    """The images."""
    methods: tuple[str, ...] = tuple(PRUNERS)
    """The criteria, each with its default options."""
    density: float = 0.8**6
    """Kept fraction of the prunable weights, in (0, 1]."""
    num_examples: int = 100
    """Training images that the criteria see, in one batch."""
    num_images: int = 100
    """Training images of the kernel; it has num_images x classes eigenvalues."""
    batch_norm: Literal["frozen", "running"] = "frozen"
    """Statistics of the kernel's images under each mask, or the initial running statistics."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.methods:
            choice("methods", name, PRUNERS)
        require(0 < self.density <= 1, "density", self.density, "a number in (0, 1]")
        for field in ("num_examples", "num_images"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")


@dataclasses.dataclass(frozen=True)
class KernelPrediction(Experiment):
    """Full-batch training of pruned networks against the closed form of their kernel's flow."""

    protocol: ClassVar = "kernel_prediction"

    data: DataConfig = DataConfig()
    """The images; the loss is the squared distance to centred one-hot labels."""
    prune: PruneConfig = PruneConfig("random", density=1.0)
    """The criterion; its density is replaced by each of ``densities``."""
    widths: tuple[int, ...] = (64, 256, 1024)
    """Units of the two hidden layers; one network each."""
    activation: str = "relu"
    """Activation of the hidden layers."""
    densities: tuple[float, ...] = (1.0, 0.2, 0.05)
    """Kept fractions of the prunable weights."""
    num_images: int = 100
    """Training images, and as many test images."""
    num_steps: int = 400
    """Steps of full-batch gradient descent."""
    step_size: float = 0.1
    """Learning rate as a share of 2 n / (largest eigenvalue), where descent turns unstable."""

    def __post_init__(self):
        super().__post_init__()
        choice("activation", self.activation, ACTIVATIONS)
        for field in ("widths", "densities"):
            values = getattr(self, field)
            require(len(values) > 0 and min(values) > 0, field, values, "positive numbers")
        require(max(self.densities) <= 1, "densities", self.densities, "numbers in (0, 1]")
        for field in ("num_images", "num_steps"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        require(0 < self.step_size < 1, "step_size", self.step_size, "a number in (0, 1)")


@dataclasses.dataclass(frozen=True)
class Estimators(Experiment):
    """Rank correlations between the estimators of NTK-SAP's score, on fully connected networks."""

    protocol: ClassVar = "estimators"

    data: DataConfig = DataConfig()
    """Only the shape of its images and its number of classes count."""
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers."""
    activations: tuple[str, ...] = ("relu", "softplus")
    """Activations to compare."""
    epsilons: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
    """Standard deviations of the perturbation."""
    draws: tuple[int, ...] = (1, 5, 25)
    """Numbers of weight draws."""
    reference_draws: int = 100
    """Draws of the exact trace that the others are compared with."""
    num_examples: int = 100
    """Random inputs per draw."""
    replicates: int = 3
    """Independent repetitions."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.activations:
            choice("activations", name, ACTIVATIONS)
        for field in ("widths", "epsilons", "draws"):
            values = getattr(self, field)
            require(len(values) > 0 and min(values) > 0, field, values, "positive numbers")
        for field in ("reference_draws", "num_examples", "replicates"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
