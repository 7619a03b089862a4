"""The parts that experiments share: network, data, pruning, training."""

import dataclasses
import math
from typing import Any, ClassVar, Literal

from experiments.config.options import (
    DEFAULTS,
    FactoryChoice,
    Options,
    check_values,
    choice,
    require,
)
from ntk_prune.data import DATASETS, STREAMS
from ntk_prune.lottery import STRATEGIES
from ntk_prune.models import MODELS
from ntk_prune.pruners import PRUNERS


@dataclasses.dataclass(frozen=True)
class ModelConfig(FactoryChoice):
    """The network; the number of classes comes from the data."""

    registry: ClassVar = MODELS
    section: ClassVar = "model"

    name: str = "resnet"
    """A network by name, such as resnet (CIFAR), vgg, imagenet_resnet, deeplab, vit or mlp."""
    options: Options = DEFAULTS
    """Arguments of the network."""
    weights: str | None = None
    """File (.safetensors or .pth) of pretrained weights, all but the head; None draws them."""
    weights_source: Literal["torchvision", "timm", "moco_v2", "dino", "clip"] = "torchvision"
    """Whose names the file uses."""

    def __post_init__(self):
        self._validate_choice()


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The images: in memory and augmented on the device, or streamed and augmented on the host."""

    name: str = "digits"
    """In memory: digits (embedded), folder, cifar10, cifar100, mnist, svhn_cropped, tiny_imagenet.
    Streamed: imagenet, imagenet_folder, voc2012, digits_segmentation (embedded)."""
    data_dir: str | None = None
    """Where the images or the prepared TFDS data lie."""
    image_size: int | None = None
    """Height and width of the images in memory or in the stream; None keeps the set's own."""
    channels: int | None = None
    """1 or 3 (in memory only); None keeps the images as they are."""
    augment: Literal["none", "crop", "crop_flip", "resized_crop_flip", "standard", "moco"] = "none"
    """In memory: zero-padded random crop (4 pixels), and a flip; or a crop of random area, and a
    flip. ImageNet: standard (crop of random area, and a flip) or moco (with colours jittered).
    Segmentation sets have their own: none stands for it."""
    input_size: int | None = None
    """Height and width to which the device resizes before the network; None: not at all."""
    num_workers: int = 0
    """Processes that read a stream; 0: threads of this one."""
    cache_dir: str | None = None
    """Where decoded images are cached (in memory only); None: beside the data, if writable."""

    def __post_init__(self):
        choice("data.name", self.name, [*DATASETS, *STREAMS])
        require(self.input_size is None or self.input_size >= 4, "data.input_size",
                 self.input_size, "at least 4 pixels")  # fmt: skip
        require(self.num_workers >= 0, "data.num_workers", self.num_workers, "0 or more")
        require(self.image_size is None or self.image_size >= 4, "data.image_size",
                 self.image_size, "at least 4 pixels")  # fmt: skip
        require(self.channels in (None, 1, 3), "data.channels", self.channels, "1 or 3")


@dataclasses.dataclass(frozen=True)
class CriterionConfig(FactoryChoice):
    """A criterion that prunes, and the examples that it sees."""

    registry: ClassVar = PRUNERS
    section: ClassVar = "prune"

    name: str = "magnitude"
    """The criterion."""
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


@dataclasses.dataclass(frozen=True)
class PruneConfig(CriterionConfig):
    """What is pruned before training, by which criterion, on which examples."""

    registry: ClassVar = {"none": None, **PRUNERS}

    name: str = "ntksap"
    """The criterion, or none for the dense network."""
    density: float = 0.107374
    """Kept fraction of the prunable weights, in (0, 1]."""
    control: Literal["none", "shuffle", "reinit", "invert"] = "none"
    """Sanity check: shuffle the mask within layers, train other weights, or keep the lowest."""

    def __post_init__(self):
        super().__post_init__()
        require(0 < self.density <= 1, "prune.density", self.density, "a number in (0, 1]")
        require(self.name != "none" or self.control == "none", "prune.control", self.control,
                "none for the dense network")  # fmt: skip


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

    section: ClassVar = "train"

    duration: str = "160ep"
    """How long to train."""
    batch_size: int = 128
    """Images per step over all devices."""
    drop_last: bool = True
    """Leave out the incomplete last batch of an epoch; otherwise (in memory only) it is a step."""
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    """Update rule."""
    loss: Literal["cross_entropy", "squared_error"] = "cross_entropy"
    """What is minimised; squared_error is to the one-hot labels."""
    batch_norm: Literal["batch", "frozen"] = "batch"
    """Normalise by the statistics of the batch, or by the running ones, which then stay."""
    learning_rate: float = 0.1
    """Peak learning rate."""
    module_rates: tuple[str, ...] = ()
    """Modules that learn at another rate, as 'backbone=0.1'; 'fc=0' freezes."""
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
    sam_rho: float = 0.0
    """Sharpness-aware minimisation: radius within which the gradient is taken; 0: not at all."""
    sam_adaptive: bool = False
    """The radius of sam_rho counts relative to the size of each weight."""
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
        self.rates()
        for field in ("batch_size", "eval_batch_size", "checkpoint_every"):
            require(getattr(self, field) >= 1, f"train.{field}", getattr(self, field), "at least 1")
        for field in ("num_devices", "steps_per_call"):
            value = getattr(self, field)
            require(value is None or value >= 1, f"train.{field}", value, "at least 1")
        for field in ("learning_rate", "drop_factor"):
            require(getattr(self, field) > 0, f"train.{field}", getattr(self, field), "more than 0")
        require(0 <= self.momentum < 1, "train.momentum", self.momentum, "a number in [0, 1)")
        for field in ("weight_decay", "sam_rho"):
            value = getattr(self, field)
            require(0 <= value < math.inf, f"train.{field}", value, "0 or more")

    def rates(self) -> dict[str, float]:
        """``module_rates`` as factors by module."""
        factors = {}
        for text in self.module_rates:
            module, _, factor = text.partition("=")
            require(module != "" and factor.replace(".", "", 1).isdecimal(), "train.module_rates",
                     text, "a module and its factor as 'backbone=0.1'")  # fmt: skip
            factors[module] = float(factor)
        return factors


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What every experiment has.

    All that is random in a run comes from its seed. Replicate ``r`` of networks that are trained is
    the network of ``seed + r``. What is drawn several times for one mean comes from the one seed.
    """

    protocol: ClassVar[str]
    grows: ClassVar[tuple[str, ...]] = ()
    """Fields that may become longer or larger in a directory that has begun, dotted."""
    repeats: ClassVar[tuple[str, ...]] = ()
    """Lists that may hold one value several times."""

    seed: int = 0
    """Seed of all random streams, that of replicate 0."""

    def __post_init__(self):
        check_values(self)
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 2^32 - 1")

    def trainings(self) -> list[tuple[Any, int]]:
        """What a run trains: each a config with network, data and training, and how many networks
        it makes. Empty where the config alone does not say it."""
        return []


@dataclasses.dataclass(frozen=True)
class Replicated(Experiment):
    """What experiments on several networks share."""

    model: ModelConfig = ModelConfig()
    """The network."""
    data: DataConfig = DataConfig()
    """The images."""
    train: TrainConfig = TrainConfig()
    """The training."""
    replicates: int = 1
    """Networks that differ in every random stream: those of seed, seed + 1 and so on."""
    at_once: int | None = None
    """Networks trained as one program; None: all replicates of a level, but one where a CPU would
    have to map convolutions."""

    def __post_init__(self):
        super().__post_init__()
        require(self.replicates >= 1, "replicates", self.replicates, "at least 1")
        require(self.at_once is None or self.at_once >= 1, "at_once", self.at_once, "at least 1")
        require(self.seed + self.replicates <= 2**32, "seed", self.seed,
                "one whose replicates end before 2^32")  # fmt: skip
