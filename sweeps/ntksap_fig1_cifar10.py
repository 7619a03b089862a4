"""NTK-SAP's Fig. 1, CIFAR-10: ResNet-20 pruned by six criteria to nine densities, three seeds each.

paper     Wang, Li and Sun, ICLR 2023, arXiv 2304.02840, Fig. 1 (left); densities 0.8^2 to 0.8^18
command   python -m experiments.sweep sweeps/ntksap_fig1_cifar10.py --config.data.data_dir=DIR --run
presets   :digits (embedded data, the six criteria at three densities), :smoke (six runs of an MLP,
          under a minute)
cost      162 runs of 160 epochs, each with its pruning
measured  not yet (no accelerator was at hand)
expected  the curves of ``python -m experiments.report runs --reference list`` for that figure
"""

from configs import common
from experiments.launch import Sweep, axis, product

METHODS = ("random", "magnitude", "snip", "grasp", "synflow", "ntksap")


def get_sweep(preset: str = "paper") -> Sweep:
    """The sweep under ``preset``."""
    return common.pick(
        preset,
        paper=sweep("", densities=[0.8**c for c in range(2, 20, 2)], seeds=3),
        digits=sweep(":digits", densities=[0.8**c for c in (2, 10, 18)], seeds=3),
        smoke=smoke(),
    )


def sweep(suffix: str, densities: list[float], seeds: int) -> Sweep:
    """Every criterion, each with its own config, at every density with every seed."""
    methods = axis("config", [f"configs/{name}_resnet20.py{suffix}" for name in METHODS])
    cells = product(methods, axis("prune.density", densities), axis("seed", range(seeds)))
    return Sweep(config=f"configs/ntksap_resnet20.py{suffix}", cells=cells)


def smoke() -> Sweep:
    """Every criterion once, on a fully connected network."""
    cells = product(axis("prune.name", METHODS), axis("train.duration", ["1ep"]))
    return Sweep(config="configs/ntksap_mlp.py:smoke", cells=cells)
