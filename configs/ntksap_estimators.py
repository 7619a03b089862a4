"""NTK-SAP's estimators: finite difference, exact directional derivative, exact trace.

paper     a question about arXiv 2304.02840, not an experiment of it
command   python -m experiments.run --config configs/ntksap_estimators.py
presets   :smoke (under a minute)
expected  EXPECTED, below: rank correlation of difference and derivative, measured here in 2 minutes
          of CPU time on 2 cores
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, Expected
from experiments.protocols.estimators import Estimators

EXPECTED = tuple(
    Expected(
        f"difference_against_jvp/{activation}_epsilon_0.01_draws_5", value, "measured here",
        "Student-t 95 %", plus_minus=plus_minus, n=3, within_run=True,
    )
    for activation, value, plus_minus in (("relu", 0.474, 0.046), ("softplus", 0.992, 0.001))
)  # fmt: skip


def get_config(preset: str = "paper") -> Estimators:
    """The experiment under ``preset``."""
    paper = Estimators(data=DataConfig("digits"))
    presets = {
        "paper": paper,
        "smoke": dataclasses.replace(
            paper,
            widths=(16,),
            epsilons=(1e-2, 1e-3),
            draws=(1, 4),
            reference_draws=8,
            num_examples=10,
            replicates=2,
        ),
    }
    return common.pick(preset, **presets)
