"""The NTK of randomly pruned networks against its infinite-width limit.

paper     Yang and Wang, AISTATS 2023, arXiv 2203.14328; the simulation of its published code: width
          2^5 to 2^13 at density 1/2 with 64 networks, the input layer pruned or not; width growing
          as a power of 1 / density with 100 networks. Beyond it: constant width, the exponent of
          the width that a deviation takes, and convolutional networks
command   python -m experiments.run --config configs/random_pruning_theory.py
          on Linux GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in front: wide networks 1.6 times faster
presets   :smoke (under a minute)
time      77e9 weights to draw, 1e8 to 2e8 in a second of one core: about 10 minutes on 2 cores of
          their own, an estimate from single cells; a killed run goes on with its next cell
expected  means within 4 standard errors of 2.4287 (rescaled), 2.4287 / 8 and 2.4287 / 16 (pruned)
measured  the sweep up to width 2048, n = 64 each: dense 2.473 +- 0.027, pruned and rescaled
          2.419 +- 0.031, with the input layer 2.427 +- 0.030 (standard errors), seed 0
"""

import dataclasses

from experiments.config import NtkTheory, nearest


def get_config(preset: str = "paper") -> NtkTheory:
    """The experiment under ``preset``."""
    presets = {"paper": lambda c: c, "smoke": smoke}
    if preset not in presets:
        raise ValueError(f"there is no preset {preset!r}{nearest(preset, presets)}")
    return presets[preset](NtkTheory())


def smoke(config: NtkTheory) -> NtkTheory:
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
