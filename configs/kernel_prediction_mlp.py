"""Training predicted by the kernel: randomly pruned networks of several widths on digits.

paper     Jacot et al., arXiv 1806.07572, and Lee et al., arXiv 1902.06720, for dense networks
command   python -m experiments.run --config configs/kernel_prediction_mlp.py
presets   :smoke (under a minute)
expected  EXPECTED, below: relative distance on test images after 400 steps, measured here in 2
          minutes of CPU time
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, Expected
from experiments.protocols.kernel_prediction import KernelPrediction

EXPECTED = tuple(
    Expected(f"distance/width_{width}_density_{density:g}", value, "measured here", "one seed", n=1)
    for density, values in ((1.0, (0.165, 0.062, 0.021)), (0.2, (0.444, 0.207, 0.089)))
    for width, value in zip((64, 256, 1024), values, strict=True)
)


def get_config(preset: str = "paper") -> KernelPrediction:
    """The experiment under ``preset``."""
    paper = KernelPrediction(data=DataConfig("digits"))
    smoke = dataclasses.replace(
        paper, widths=(16, 64), densities=(1.0, 0.2), num_images=20, num_steps=50
    )
    return common.pick(preset, paper=paper, smoke=smoke)
