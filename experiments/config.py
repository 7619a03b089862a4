"""The one schema: what an experiment is. Frozen, validated, documented field by field.

An experiment is one of the ``Experiment`` classes below; its class decides the protocol. Options of
a pruner or a model are not declared again: their classes are made from the factories' signatures.
"""

import dataclasses
from typing import Any, ClassVar, Literal

from experiments.options import DEFAULTS, Named, Options, choice, require
from ntk_prune.data import DATASETS
from ntk_prune.models import MODELS
from ntk_prune.models.mlp import ACTIVATIONS
from ntk_prune.pruners import PRUNERS


@dataclasses.dataclass(frozen=True)
class ModelConfig(Named):
    """The network; the number of classes comes from the data."""

    registry: ClassVar = MODELS
    section: ClassVar = "model"

    name: str = "resnet"
    """mlp, convnet, lenet_300_100, lenet5, resnet or vgg."""
    options: Options = DEFAULTS
    """Arguments of the network."""

    def __post_init__(self):
        self._validate_choice()


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The images: held in memory, augmented on the device."""

    name: str = "digits"
    """digits (embedded), folder, cifar10, cifar100, mnist or svhn_cropped."""
    data_dir: str | None = None
    """Where the images (folder) or the prepared TFDS data lie."""
    image_size: int | None = None
    """Height and width to resize to; None keeps the images as they are."""
    channels: int | None = None
    """1 or 3; None keeps the images as they are."""
    augment: Literal["none", "crop", "crop_flip"] = "none"
    """Zero-padded random crop (4 pixels), and a random horizontal flip."""
    cache_dir: str | None = None
    """Where decoded images are cached; None: beside the data, if that can be written."""

    def __post_init__(self):
        choice("data.name", self.name, DATASETS)
        require(self.image_size is None or self.image_size >= 4, "data.image_size",
                 self.image_size, "at least 4 pixels")  # fmt: skip
        require(self.channels in (None, 1, 3), "data.channels", self.channels, "1 or 3")


@dataclasses.dataclass(frozen=True)
class PruneConfig(Named):
    """What is pruned before training, by which criterion, on which examples."""

    registry: ClassVar = {"none": None, **PRUNERS}
    section: ClassVar = "prune"

    name: str = "ntksap"
    """The criterion, or none for the dense network."""
    options: Options = DEFAULTS
    """Arguments of the criterion."""
    density: float = 0.107374
    """Kept fraction of the prunable weights, in (0, 1]."""
    control: Literal["none", "shuffle", "reinit", "invert"] = "none"
    """Sanity check: shuffle the mask within layers, train other weights, or keep the lowest."""
    num_examples: int = 100
    """Training images that the criterion sees (NTK-SAP takes only their number and shape)."""
    batch_size: int = 100
    """Images per batch of the criterion; divides num_examples."""
    balanced: bool = False
    """Take the same number of images from every class."""

    def __post_init__(self):
        self._validate_choice()
        require(0 < self.density <= 1, "prune.density", self.density, "a number in (0, 1]")
        require(self.batch_size >= 1, "prune.batch_size", self.batch_size, "at least 1")
        require(
            self.num_examples >= 1 and self.num_examples % self.batch_size == 0,
            "prune.num_examples", self.num_examples,
            f"a positive multiple of prune.batch_size ({self.batch_size})",
        )  # fmt: skip


def parse_duration(text: str, field: str = "duration") -> tuple[float, str]:
    """``"160ep"`` -> (160.0, "ep"), ``"500it"`` -> (500.0, "it"); ValueError otherwise."""
    number, unit = text[:-2], text[-2:]
    require(
        unit in ("ep", "it") and number.replace(".", "", 1).isdecimal(), field, text,
        "epochs as '160ep' or iterations as '500it'",
    )  # fmt: skip
    return float(number), unit


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training of the masked network. Durations are epochs ('160ep') or iterations ('500it')."""

    duration: str = "160ep"
    """How long to train."""
    batch_size: int = 128
    """Images per step over all devices; the incomplete last batch of an epoch is dropped."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Update rule."""
    learning_rate: float = 0.1
    """Peak learning rate."""
    schedule: Literal["step", "cosine", "constant"] = "step"
    """Shape of the learning rate after the warm-up."""
    drops: tuple[str, ...] = ("80ep", "120ep")
    """When the step schedule multiplies the learning rate by drop_factor."""
    drop_factor: float = 0.1
    """Factor of each drop."""
    warmup: str = "0ep"
    """Duration of the linear warm-up."""
    momentum: float = 0.9
    """Momentum of sgd."""
    nesterov: bool = False
    """Nesterov momentum."""
    weight_decay: float = 1e-4
    """L2 coefficient on every trainable parameter (decoupled with adamw)."""
    parallel: Literal["pmap", "jit"] = "pmap"
    """How a step is spread over devices: jax.pmap, or jit with sharded batches."""
    num_devices: int | None = None
    """Devices of this process to use; None for all."""
    steps_per_call: int | None = None
    """Steps in one dispatch; None: 1 on a CPU, more on an accelerator."""
    eval_batch_size: int = 500
    """Test images per evaluation step; every image counts exactly once."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""

    def __post_init__(self):
        for field in ("duration", "warmup"):
            parse_duration(getattr(self, field), f"train.{field}")
        for drop in self.drops:
            parse_duration(drop, "train.drops")
        for field in ("batch_size", "eval_batch_size", "checkpoint_every"):
            require(getattr(self, field) >= 1, f"train.{field}", getattr(self, field), "at least 1")
        for field in ("num_devices", "steps_per_call"):
            value = getattr(self, field)
            require(value is None or value >= 1, f"train.{field}", value, "at least 1")
        for field in ("learning_rate", "drop_factor"):
            require(getattr(self, field) > 0, f"train.{field}", getattr(self, field), "more than 0")
        require(0 <= self.momentum < 1, "train.momentum", self.momentum, "a number in [0, 1)")
        require(self.weight_decay >= 0, "train.weight_decay", self.weight_decay, "0 or more")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What every experiment has."""

    protocol: ClassVar[str]

    seed: int = 0
    """Seed of all random streams; one seed is one replicate."""

    def __post_init__(self):
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 2^32 - 1")


@dataclasses.dataclass(frozen=True)
class PruneAndTrain(Experiment):
    """Prune at initialisation, train what is left, measure it on the test set."""

    protocol: ClassVar = "prune_and_train"

    model: ModelConfig = ModelConfig()
    """The network."""
    data: DataConfig = DataConfig()
    """The images."""
    prune: PruneConfig = PruneConfig()
    """The pruning."""
    train: TrainConfig = TrainConfig()
    """The training."""
    kernel_images: int = 0
    """Training images whose NTK is followed: its eigenvalues before and after pruning, its drift
    and label alignment in every epoch; 0 for none."""

    def __post_init__(self):
        super().__post_init__()
        require(self.kernel_images >= 0, "kernel_images", self.kernel_images, "0 or more")


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


def to_dict(config: Experiment) -> dict[str, Any]:
    """The resolved config as plain JSON values, with its protocol."""
    return {"protocol": config.protocol, **_plain(dataclasses.asdict(config))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
