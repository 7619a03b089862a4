"""The three-regime model on the embedded digits: a real grid within half an hour on a laptop.

paper     Zhou, Yang, Chang and Mahoney, ICML 2023, arXiv 2305.18383; CIFAR-10 and PreResNet-20
          there. Network and recipe are chosen so that the load axis shows on the digits; the
          published constants do not show it there
command   python -m experiments.run --config configs/three_regime_digits.py
presets   :mlp (the default), :batch_size (another temperature), :sam_rho (a third), :preresnet8
          (convolutions), :smoke (under a minute)
measured  8 dense x 2 retrain seeds, 208 s of CPU time on an Intel Xeon (2 cores, shared): the load
          axis shows (LMC -27.1 +- 7.6 % at 5 % of the weights and 2 epochs, -0.23 +- 0.20 % at
          40 %), the temperature axis does not (24 minus 2 epochs at 5 %: LMC -2.3 +- 13.0, error
          -1.8 +- 2.6 %; Student-t 95 %). :batch_size, 199 s: it does (64 minus 8 at 8 %: LMC -24.0
          +- 11.3, error +2.7 +- 2.0 %)
"""

import dataclasses

from configs import common
from experiments.comparison import Settings
from experiments.config import CriterionConfig, DataConfig, TrainConfig
from experiments.protocols.three_regime.config import TemperatureConfig, ThreeRegime


def get_config(preset: str = "mlp") -> ThreeRegime:
    """The experiment under ``preset``."""
    config = mlp()
    return common.pick(
        preset,
        mlp=config,
        batch_size=batch_size(config),
        sam_rho=sam_rho(config),
        preresnet8=preresnet8(config),
        smoke=smoke(config),
    )


def recipe(epochs: int) -> TrainConfig:
    """SGD with decay 3e-3, batches of 16 and drops by ten at a half and three quarters."""
    return TrainConfig(
        duration=f"{epochs}ep",
        batch_size=16,
        drops=(f"{epochs // 2}ep", f"{3 * epochs // 4}ep"),
        weight_decay=3e-3,
        checkpoint_every=epochs,
    )


def mlp() -> ThreeRegime:
    """MLP 64-32-32-32-32-10 with batch norm, every layer pruned by the same share."""
    return ThreeRegime(
        model=common.model("mlp", widths=(32, 32, 32, 32), batch_norm=True),
        data=DataConfig("digits"),
        dense=recipe(24),
        temperature=TemperatureConfig(values=(2.0, 4.0, 8.0, 12.0, 16.0, 24.0)),
        prune=CriterionConfig("magnitude", common.magnitude("uniform")),
        densities=(0.05, 0.08, 0.12, 0.2, 0.4),
        dense_seeds=8,
        retrain_seeds=2,
        retrain=recipe(20),
        measure=Settings(hessian_images=0, kernel_images=0),
    )


def batch_size(config: ThreeRegime) -> ThreeRegime:
    """The batch size as temperature, at as many iterations as 24 epochs of batches of 16."""
    dense = dataclasses.replace(recipe(24), duration="2136it", drops=("1068it", "1602it"))
    temperature = TemperatureConfig("batch_size", (8.0, 16.0, 32.0, 64.0))
    return dataclasses.replace(config, dense=dense, temperature=temperature)


def sam_rho(config: ThreeRegime) -> ThreeRegime:
    """The radius of sharpness-aware steps as temperature."""
    temperature = TemperatureConfig("sam_rho", (0.0, 0.05, 0.1, 0.2, 0.4))
    return dataclasses.replace(config, temperature=temperature)


def preresnet8(config: ThreeRegime) -> ThreeRegime:
    """PreResNet-8 of a quarter of the width, its convolutions pruned."""
    return dataclasses.replace(
        config,
        model=common.model("preresnet", depth=8, width=0.25),
        dense=recipe(16),
        temperature=TemperatureConfig(values=(3.0, 6.0, 8.0, 12.0, 16.0)),
        prune=CriterionConfig("magnitude", common.magnitude("uniform", exclude=("fc",))),
        densities=(0.04, 0.06, 0.1, 0.2, 0.4),
        dense_seeds=2,
        retrain=recipe(16),
    )


def smoke(config: ThreeRegime) -> ThreeRegime:
    """Every stage and measure on two temperatures, two densities and two dense networks."""
    return dataclasses.replace(
        config,
        dense=recipe(4),
        temperature=TemperatureConfig(values=(2.0, 4.0)),
        densities=(0.05, 0.4),
        dense_seeds=2,
        retrain=recipe(4),
        measure=Settings(hessian_images=32, probes=4, kernel_images=8),
    )
