"""IMC on LeNet-300-100 and the embedded digits: spectrum, gap, masks, comparison, control.

paper     Zhang et al., NeurIPS 2021; its steps 2 to 5 and all its numbers are not available, so no
          number of it is claimed. What is known, theory and reconstruction: docs/imc.md
command   python -m experiments.run --config configs/imc_lenet_digits.py
presets   :smoke (under a minute), :digits (the default)
expected  EXPECTED, below: measured here at density 0.02, in about 13 minutes of CPU time on an
          Intel Xeon (2 cores). Admissible gaps lie among the top ten eigenvalues alone, at r = 0.1
          there is none
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, Expected, TrainConfig
from experiments.protocols.imc.config import Imc, PointConfig, SpectrumConfig

EXPECTED = tuple(
    Expected(
        f"{method}/test/accuracy", value, "measured here", "360 test images, Student-t 95 %",
        plus_minus=plus_minus, n=3, within_run=True,
    )
    for method, value, plus_minus in (
        ("imc fast leverage", 44, 36), ("imc fast diagonal", 89.5, 5.2), ("imp", 96.5, 1.6),
        ("ntksap", 94.1, 3.9), ("random", 34, 20),
    )
)  # fmt: skip


def get_config(preset: str = "digits") -> Imc:
    """The experiment under ``preset``."""
    config = Imc(
        model=common.model("lenet_300_100"),
        data=DataConfig("digits"),
        train=TrainConfig(
            duration="40ep",
            batch_size=60,
            optimizer="adam",
            learning_rate=1.2e-3,
            schedule="constant",
            weight_decay=0.0,
            checkpoint_every=20,
        ),
        point=PointConfig(num_examples=300, batch_size=60),
        replicates=3,
        rankings=("leverage", "rrqr", "diagonal", "magnitude"),
    )
    return common.pick(preset, digits=config, smoke=smoke(config))


def smoke(config: Imc) -> Imc:
    """Every stage on a tiny network, two densities and two replicates."""
    return dataclasses.replace(
        config,
        model=common.model("mlp", widths=(12,)),
        train=dataclasses.replace(config.train, duration="3ep", batch_size=128),
        point=PointConfig(num_examples=32, batch_size=16),
        spectrum=SpectrumConfig(
            directions=4,
            ends=8,
            lanczos_steps=30,
            probes=3,
            probe_steps=20,
            diagonal_probes=4,
            radii=(0.01, 0.1),
            random_directions=1,
        ),
        rankings=("leverage", "magnitude"),
        others=("imp", "snip", "random"),
        densities=(0.5, 0.2),
        replicates=2,
    )
