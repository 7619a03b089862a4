"""IMC on ResNet-20: spectrum at W*, gap, masks and their training beside other criteria.

paper     Zhang et al., NeurIPS 2021; its steps 2 to 5 and all its numbers are not available, so no
          number of it is claimed. What is known, theory and reconstruction: docs/imc.md
command   python -m experiments.run --config configs/imc_resnet20.py --config.data.data_dir=DIR
presets   :cifar10 (the default: lottery settings), :digits (a narrow network), :smoke
expected  EXPECTED, below: :digits at density 0.1, in 13.2 minutes of wall time and 8.4 CPU minutes
          on 2 shared cores of an AMD EPYC; the dense network has 98.6 %; one dimension is
          admissible on the ball of 0.01, none on that of 0.1. CIFAR-10 not yet measured
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, Expected, TrainConfig
from experiments.protocols.imc.config import Imc, PointConfig, SpectrumConfig

EXPECTED = tuple(
    Expected(f"{method}/test/accuracy", value, "measured here", "one seed", n=1, preset="digits")
    for method, value in (
        ("ntksap", 97.8), ("imp", 96.1), ("snip", 96.1), ("imc magnitude", 96.1), ("random", 95.8),
        ("imc fast leverage", 84.2), ("imc slow leverage", 10.0),
    )
)  # fmt: skip


def get_config(preset: str = "cifar10") -> Imc:
    """The experiment under ``preset``."""
    config = Imc(
        model=common.model("resnet", depth=20, width=16),
        data=DataConfig("cifar10", augment="crop_flip"),
        train=TrainConfig(),
        point=PointConfig(num_examples=1000, batch_size=100),
        spectrum=SpectrumConfig(exact_gauss_newton=False),
        replicates=3,
    )
    return common.pick(preset, cifar10=config, digits=digits(config), smoke=smoke(config))


def digits(config: Imc) -> Imc:
    """ResNet-20 of a quarter of the width on the digits at 16 pixels, one density, no control."""
    return dataclasses.replace(
        config,
        model=common.model("resnet", depth=20, width=4),
        data=DataConfig("digits", image_size=16),
        train=TrainConfig(duration="10ep", schedule="cosine", warmup="1ep", batch_size=64),
        point=PointConfig(num_examples=100, batch_size=50),
        spectrum=SpectrumConfig(
            ends=15, lanczos_steps=60, probes=4, probe_steps=40, diagonal_probes=20,
            radii=(0.01, 0.1), random_directions=2,
        ),
        densities=(0.1,),
        others=("imp", "snip", "ntksap", "random"),
        rates=(),
        replicates=1,
        subspaces=False,
    )  # fmt: skip


def smoke(config: Imc) -> Imc:
    """Every stage but the controls on ResNet-8."""
    return dataclasses.replace(
        config,
        model=common.model("resnet", depth=8, width=4),
        data=DataConfig("digits"),
        train=TrainConfig(duration="1ep", batch_size=256),
        point=PointConfig(steps=2, num_examples=16, batch_size=16),
        spectrum=SpectrumConfig(
            directions=2, ends=4, lanczos_steps=12, probes=2, probe_steps=10, diagonal_probes=2,
            radii=(0.01,), random_directions=1, exact_gauss_newton=False,
        ),
        rankings=("leverage", "magnitude"),
        readings=("fast",),
        others=("imp", "random"),
        densities=(0.2,),
        rates=(),
        replicates=1,
        slaving=False,
        subspaces=False,
    )  # fmt: skip
