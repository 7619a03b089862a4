"""The parts that experiments share: network, data, training."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from experiments.config.options import (
    DEFAULTS,
    LARGEST,
    FactoryChoice,
    Options,
    check_values,
    choice,
    require,
)
from ntk_prune.data import DATASETS, STREAMS
from ntk_prune.models import MODELS
from ntk_prune.types import Model

EMBEDDED = ("digits", "digits_segmentation")
"""The sets that come with scikit-learn."""
LARGEST_IMAGE = 2**13
"""Pixels a side to which images are resized at most: one in colour has 800 MB as float32."""
MOST_WORKERS = 2**10
MOST_NETWORKS = 2**16
"""Networks of one run that differ in their seeds, or levels of a lottery."""


@dataclasses.dataclass(frozen=True)
class ModelConfig(FactoryChoice):
    """The network; the number of classes comes from the data."""

    registry: ClassVar = MODELS
    section: ClassVar = "model"
    makes: ClassVar = Model
    given: ClassVar = ("num_classes",)

    name: str = "resnet"
    """A network by name, such as resnet (CIFAR), vgg, imagenet_resnet, deeplab, vit or mlp, or your
    own as package.module:factory (docs/own_model.md)."""
    options: Options = DEFAULTS
    """Arguments of the network."""
    weights: str | None = None
    """File (.safetensors or .pth) of pretrained weights, all but the head; None draws them."""
    weights_source: Literal["torchvision", "timm", "moco_v2", "dino", "clip"] = "torchvision"
    """Whose names the file uses."""

    def __post_init__(self):
        self._validate_choice()

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        return {} if self.weights else {"weights_source": "without model.weights"}


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
        for field in ("image_size", "input_size"):
            size = getattr(self, field)
            require(size is None or 4 <= size <= LARGEST_IMAGE, f"data.{field}", size,
                    f"4 to {LARGEST_IMAGE} pixels")  # fmt: skip
        require(0 <= self.num_workers <= MOST_WORKERS, "data.num_workers", self.num_workers,
                f"0 to {MOST_WORKERS}")  # fmt: skip
        require(self.channels in (None, 1, 3), "data.channels", self.channels, "1 or 3")

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        embedded = ("data_dir", "cache_dir") if self.name in EMBEDDED else ()
        in_memory = ("num_workers",) if self.name in DATASETS else ()
        return {
            **dict.fromkeys(embedded, f"with {self.name}, which is embedded"),
            **dict.fromkeys(in_memory, f"with {self.name}, which lies in memory"),
        }


def parse_duration(text: str, field: str = "duration") -> tuple[float, str]:
    """``"160ep"`` -> (160.0, "ep"), ``"500it"`` -> (500.0, "it"); ValueError otherwise."""
    number, unit = text[:-2], text[-2:]
    require(
        unit in ("ep", "it") and _is_decimal(number) and float(number) < LARGEST, field, text,
        "epochs as '160ep' or iterations as '500it'",
    )  # fmt: skip
    return float(number), unit


def _is_decimal(text: str) -> bool:
    """Whether these are digits, with a point or without."""
    return text.isascii() and text.replace(".", "", 1).isdecimal()


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

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        of_sgd = () if self.optimizer == "sgd" else ("momentum", "nesterov")
        of_steps = () if self.schedule == "step" else ("drops", "drop_factor")
        of_sam = () if self.sam_rho > 0 else ("sam_adaptive",)
        return {
            **dict.fromkeys(of_sgd, f"with {self.optimizer}"),
            **dict.fromkeys(of_steps, f"with the schedule {self.schedule}"),
            **dict.fromkeys(of_sam, "without sam_rho"),
        }

    def rates(self) -> dict[str, float]:
        """``module_rates`` as factors by module."""
        factors = {}
        for text in self.module_rates:
            module, _, factor = text.partition("=")
            is_rate = _is_decimal(factor) and float(factor) < math.inf
            require(module != "" and is_rate, "train.module_rates", text,
                    "a module and its factor as 'backbone=0.1'")  # fmt: skip
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
    inert: ClassVar[Mapping[str, str]] = {}
    """Fields that change nothing in this protocol, dotted, and why; they keep their defaults."""

    seed: int = 0
    """Seed of all random streams, that of replicate 0."""

    def __post_init__(self):
        check_values(self)
        require(0 <= self.seed < 2**32, "seed", self.seed, "0 to 2^32 - 1")
        for name, why in self.inert.items():
            section, _, leaf = name.partition(".")
            default = getattr(getattr(type(self), section), leaf)
            value = getattr(getattr(self, section), leaf)
            require(value == default, name, value, f"{default!r}: {why}")

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why; sections name their own."""
        return dict(self.inert)

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
        require(1 <= self.replicates <= MOST_NETWORKS, "replicates", self.replicates,
                f"1 to {MOST_NETWORKS}")  # fmt: skip
        require(self.at_once is None or self.at_once >= 1, "at_once", self.at_once, "at least 1")
        require(self.seed + self.replicates <= 2**32, "seed", self.seed,
                "one whose replicates end before 2^32")  # fmt: skip
