"""The NTK of randomly pruned networks against its infinite-width limit.

paper     Yang and Wang, AISTATS 2023, arXiv 2203.14328; the simulation of its published code: width
          2^5 to 2^13 at density 1/2 with 64 networks, the input layer pruned or not; width growing
          as a power of 1 / density with 100 networks. Beyond it: constant width, the exponent of
          the width that a deviation takes, and convolutional networks
command   python -m experiments.run --config configs/random_pruning_theory.py
          on Linux GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in front: wide networks 1.6 times faster
presets   :smoke (under a minute)
time      26 minutes, niced, on 2 cores shared with a load of 5 to 10 (14 minutes of processor time,
          so about 8 on 2 idle cores); resumed once: a killed run goes on with its next cell
expected  means within 4 standard errors of 2.4287 (rescaled), 2.4287 / 8 and 2.4287 / 16 (pruned)
          and EXPECTED, below
measured  seed 0, +- standard error: all 102 cells within 2.8 standard errors. Mean deviation, n =
          100, at density 1/8: width constant 0.471 +- 0.033, grown as density^-1/2 0.304 +- 0.022,
          as density^-1 0.150 +- 0.010 (0.206 to 0.247 at density 1)
"""

import dataclasses

from configs import common
from experiments.config import Expected
from experiments.protocols.random_pruning.config import RandomPruning

EXPECTED = (
    *(
        Expected(
            f"sweep_{network}/width_8192.mean", value, "measured here",
            f"Student-t 95 % of the standard error {sem}", plus_minus=2.0 * sem, n=64,
            within_run=True,
        )
        for network, value, sem in (
            ("dense", 2.429, 0.013), ("pruned", 2.425, 0.016), ("input_pruned", 2.428, 0.012),
        )
    ),
    Expected(
        "required_width_exponent", 0.64, "measured here", "95 %, 512 networks per cell",
        plus_minus=0.04, n=512, within_run=True,
    ),
)  # fmt: skip


def get_config(preset: str = "paper") -> RandomPruning:
    """The experiment under ``preset``."""
    return common.pick(preset, paper=RandomPruning(), smoke=smoke(RandomPruning()))


def smoke(config: RandomPruning) -> RandomPruning:
    """Every experiment at small widths, with few networks."""
    return dataclasses.replace(
        config,
        sweep_widths=(32, 64),
        sweep_networks=16,
        scaling_width=64,
        scaling_densities=(1.0, 0.5),
        scaling_networks=16,
        law_widths=(32, 128),
        law_densities=(1.0, 0.5),
        law_networks=256,
        cnn_channels=(8,),
        cnn_densities=(1.0, 0.5),
        cnn_networks=16,
    )
