"""The three-regime model's Fig. 2: three temperatures, each a whole grid for every dense network.

paper     Zhou, Yang, Chang and Mahoney, ICML 2023, arXiv 2305.18383, Fig. 2; the stopping epoch,
          the batch size and SAM's radius as temperature, see configs/three_regime_preresnet20.py
command   python -m experiments.sweep sweeps/three_regime_fig2.py --config.data.data_dir=DIR --run
presets   :smoke (two grids of an MLP, one temperature each, under a minute on two cores)
cost      9 cells. One of the stopping epoch: 1 dense training and 432 retrainings of 160 epochs;
          of the batch size: 6 dense trainings of 62400 iterations, 162 retrainings of 160 epochs;
          of the radius: 8 dense trainings of 160 epochs, 216 retrainings
measured  not yet (no accelerator was at hand)
"""

from configs import common
from experiments.launch import Sweep, axis, product

GRIDS = "configs/three_regime_preresnet20.py"
TEMPERATURES = ("stopping_epoch", "batch_size", "sam_rho")


def get_sweep(preset: str = "paper") -> Sweep:
    """The sweep under ``preset``: one dense network a cell, as a directory is one process's."""
    networks = product(axis("dense_seeds", [1]), axis("seed", range(3)))
    grids = axis("config", [f"{GRIDS}:{name}" for name in TEMPERATURES])
    return common.pick(
        preset,
        paper=Sweep(GRIDS, product(grids, networks)),
        smoke=smoke(),
    )


def smoke() -> Sweep:
    """Two dense networks, one temperature."""
    fields = {"dense_seeds": 1, "temperature.values": (2.0,)}
    return Sweep("configs/three_regime_digits.py:smoke", product([fields], axis("seed", range(2))))
