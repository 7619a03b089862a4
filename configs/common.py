"""Recipes that several configs share, and the presets that all of them have.

paper   the published recipe on CIFAR-10 (TFDS)
digits  the same method on the embedded digits, about 5 minutes on a laptop
smoke   every step on a tiny network, well within a minute
"""

import dataclasses
from typing import Any

from experiments.config import DataConfig, ModelConfig, PruneConfig, TrainConfig
from experiments.config.options import Options, make_options, nearest
from experiments.protocols.lottery.config import Lottery
from experiments.protocols.prune_and_train.config import PruneAndTrain
from ntk_prune.models import MODELS
from ntk_prune.pruners import PRUNERS


def model(name: str, **options) -> ModelConfig:
    """A network by name with its options."""
    return ModelConfig(name, make_options(MODELS[name], options))


def pruning(
    name: str,
    *,
    density: float,
    num_examples: int,
    batch_size: int,
    balanced: bool = False,
    **options,
) -> PruneConfig:
    """A criterion by name with its options."""
    return PruneConfig(
        name,
        make_options(PRUNERS[name], options),
        density=density,
        num_examples=num_examples,
        batch_size=batch_size,
        balanced=balanced,
    )


def magnitude(scope: str, exclude: tuple[str, ...] = ()) -> Options:
    """The options of magnitude pruning: how layers share the weights, modules left whole."""
    return make_options(PRUNERS["magnitude"], {"scope": scope, "exclude": exclude})


def px(density: float, num_classes: int, batch_size: int) -> PruneConfig:
    """PX as its paper runs it: 100 rounds, ten images of every class."""
    return pruning(
        "px",
        density=density,
        num_examples=10 * num_classes,
        batch_size=batch_size,
        balanced=True,
    )


def cifar10_resnet20(prune: PruneConfig) -> PruneAndTrain:
    """ResNet-20 on CIFAR-10 as NTK-SAP trains it: 160 epochs, lr 0.1 dropped at 80 and 120."""
    return PruneAndTrain(
        model=model("resnet", depth=20, width=16),
        data=DataConfig("cifar10", augment="crop_flip"),
        prune=prune,
        train=TrainConfig(),
    )


def cifar100_vgg16(prune: PruneConfig) -> PruneAndTrain:
    """VGG-16 on CIFAR-100 as NTK-SAP trains it: Nesterov, 0.1 dropped at 60 and 120, decay 5e-4."""
    return PruneAndTrain(
        model=model("vgg", depth=16),
        data=DataConfig("cifar100", augment="crop_flip"),
        prune=prune,
        train=TrainConfig(drops=("60ep", "120ep"), nesterov=True, weight_decay=5e-4),
    )


PRETRAINED = {
    "paper": ("weights/resnet50_imagenet.pth", "torchvision", "imagenet_resnet"),
    "moco": ("weights/moco_v2_800ep_pretrain.pth", "moco_v2", "imagenet_resnet"),
    "dino": ("weights/dino_resnet50_pretrain.pth", "dino", "imagenet_resnet"),
    "clip": ("weights/clip_rn50_visual.pth", "clip", "clip_resnet"),
}


def pretrained_resnet50(
    preset: str, dataset: str, prune: PruneConfig, augment: Any
) -> PruneAndTrain:
    """A pretrained ResNet-50 at 224 pixels, pruned and fine-tuned: 182 epochs, lr 0.1 dropped at
    91 and 136. ``preset`` chooses the weights, see ``PRETRAINED``."""
    weights, source, network = PRETRAINED[preset]
    return PruneAndTrain(
        model=dataclasses.replace(model(network), weights=weights, weights_source=source),
        data=DataConfig(dataset, augment=augment, input_size=224),
        prune=prune,
        train=TrainConfig(duration="182ep", drops=("91ep", "136ep"), batch_size=256),
    )


def pretrained(
    preset: str, dataset: str, prune: PruneConfig, augment: str = "crop_flip"
) -> PruneAndTrain:
    """The preset by name: the weights that the paper has for classification, or ``smoke``."""
    presets = {
        name: pretrained_resnet50(name, dataset, prune, augment)
        for name in ("paper", "moco", "clip")
    }
    return pick(preset, **presets, smoke=smoke(presets["paper"]))


def digits(config: PruneAndTrain) -> PruneAndTrain:
    """The same network and method on the embedded digits at 16x16, 30 epochs with a cosine."""
    return dataclasses.replace(
        config,
        data=DataConfig("digits", image_size=16, augment="none"),
        train=TrainConfig(duration="30ep", schedule="cosine", warmup="2ep", batch_size=64),
    )


_TINY = {
    "resnet": {"depth": 8, "width": 4},
    "vgg": {"depth": 11, "width": 4},
    "imagenet_resnet": {"depth": 18, "width": 4, "stem": "3x3"},
}


def smoke(config: PruneAndTrain) -> PruneAndTrain:
    """A tiny network of the same family, two pruning rounds, two epochs."""
    options = config.prune.options
    rounds = getattr(options, "num_rounds", None)
    if rounds is not None:
        options = dataclasses.replace(options, num_rounds=min(2, rounds))
    return dataclasses.replace(
        config,
        model=model(config.model.name, **_TINY[config.model.name]),
        data=DataConfig("digits", image_size=16),
        prune=dataclasses.replace(config.prune, options=options, num_examples=20, batch_size=20),
        train=dataclasses.replace(
            config.train, duration="2ep", schedule="cosine", batch_size=64, eval_batch_size=500
        ),
    )


def lottery_digits(config: Lottery) -> Lottery:
    """The same tickets on the embedded digits at 16x16, 30 epochs with a cosine a level."""
    train = TrainConfig(duration="30ep", schedule="cosine", warmup="2ep", batch_size=64)
    return dataclasses.replace(config, data=DataConfig("digits", image_size=16), train=train)


def lottery_smoke(config: Lottery) -> Lottery:
    """A tiny network of the same family, one level, two epochs."""
    return dataclasses.replace(
        config,
        model=model(config.model.name, **_TINY[config.model.name]),
        data=DataConfig("digits", image_size=16),
        train=TrainConfig(duration="2ep", schedule="cosine", batch_size=64),
        levels=1,
        rewind="0ep",
        replicates=2,
    )


def choose(preset: str, paper: PruneAndTrain) -> PruneAndTrain:
    """The preset by name, derived from the paper's config."""
    return pick(preset, paper=paper, digits=digits(paper), smoke=smoke(paper))


def pick(preset: str, **presets: Any) -> Any:
    """One of ``presets`` by name. ValueError names the nearest."""
    if preset not in presets:
        raise ValueError(f"there is no preset {preset!r}{nearest(preset, presets)}")
    return presets[preset]
