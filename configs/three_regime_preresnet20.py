"""The three-regime model of pruning: PreResNet-20 on CIFAR-10, temperature x density x seeds.

paper     Zhou, Yang, Chang and Mahoney, ICML 2023, arXiv 2305.18383, Fig. 2; recipes as its code
          runs them: SGD, momentum 0.9, decay 1e-4 on all parameters, lr 0.1 dropped at epochs 80
          and 120 of 160, batches of 64, before and after pruning; every convolution loses the same
          share of its weights, the classifier none
command   python -m experiments.run --config configs/three_regime_preresnet20.py
          --config.data.data_dir=DIR
presets   :stopping_epoch (the default: 16 stops of one training, 3 x 3 seeds), :batch_size (62400
          iterations, retraining with batches of 128), :sam_rho (radii 0.1 to 0.8), :digits (16
          pixels, narrow), :smoke (under a minute)
cost      stopping_epoch: 3 dense trainings and 1296 retrainings of 160 epochs, 1296 measured pairs
measured  not yet (no accelerator was at hand); the digits: configs/three_regime_digits.py
"""

import dataclasses

from configs import common
from experiments.comparison import Settings
from experiments.config import DataConfig, TrainConfig
from experiments.protocols.three_regime.config import TemperatureConfig, ThreeRegime


def get_config(preset: str = "stopping_epoch") -> ThreeRegime:
    """The experiment under ``preset``."""
    train = TrainConfig(batch_size=64, drop_last=False)  # 782 steps an epoch
    config = ThreeRegime(model=common.model("preresnet", depth=20), dense=train, retrain=train)
    return common.pick(
        preset,
        stopping_epoch=config,
        batch_size=batch_size(config),
        sam_rho=sam_rho(config),
        digits=digits(config),
        smoke=smoke(config),
    )


def batch_size(config: ThreeRegime) -> ThreeRegime:
    """62400 iterations of six batch sizes, dropped at a half and three quarters."""
    train = TrainConfig(duration="62400it", drops=("31200it", "46800it"))
    return dataclasses.replace(
        config,
        dense=train,
        temperature=TemperatureConfig("batch_size", (16.0, 32.0, 64.0, 128.0, 256.0, 512.0)),
        retrain=dataclasses.replace(train, batch_size=128),
    )


def sam_rho(config: ThreeRegime) -> ThreeRegime:
    """Eight radii of sharpness-aware steps in the dense training."""
    radii = tuple(round(0.1 * i, 1) for i in range(1, 9))
    return dataclasses.replace(config, temperature=TemperatureConfig("sam_rho", radii))


def digits(config: ThreeRegime) -> ThreeRegime:
    """A narrow PreResNet-20 on the embedded digits at 16 pixels, four cells, two dense seeds."""
    train = TrainConfig(
        duration="8ep", batch_size=64, drops=("4ep", "6ep"), weight_decay=3e-3, checkpoint_every=4
    )
    return dataclasses.replace(
        config,
        model=common.model("preresnet", depth=20, width=0.25),
        data=DataConfig("digits", image_size=16),
        dense=train,
        temperature=TemperatureConfig(values=(2.0, 8.0)),
        densities=(0.1, 0.4),
        dense_seeds=2,
        retrain_seeds=2,
        retrain=train,
    )


def smoke(config: ThreeRegime) -> ThreeRegime:
    """Every stage on PreResNet-8 with one epoch, one density and one dense network."""
    train = TrainConfig(duration="2ep", batch_size=256, drops=("1ep",), checkpoint_every=2)
    return dataclasses.replace(
        config,
        model=common.model("preresnet", depth=8, width=0.25),
        data=DataConfig("digits"),
        dense=train,
        temperature=TemperatureConfig(values=(1.0, 2.0)),
        densities=(0.4,),
        dense_seeds=1,
        retrain_seeds=2,
        retrain=train,
        measure=Settings(
            points=3, line_images=256, similarity_images=128, hessian_images=0, kernel_images=0
        ),
    )
