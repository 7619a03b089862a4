"""The NTK of randomly pruned networks against its infinite-width limit."""

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
