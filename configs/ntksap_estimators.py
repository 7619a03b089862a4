"""NTK-SAP's estimators: finite difference, exact directional derivative, exact trace.

paper     a question about arXiv 2304.02840, not an experiment of it
command   python -m experiments.run --config configs/ntksap_estimators.py
presets   :smoke (under a minute)
measured  difference against derivative, epsilon 0.01, R = 5: 0.474 +- 0.046 (ReLU), 0.992 +- 0.001
          (softplus), Student-t 95 %, n = 3; 2 minutes of CPU time on 2 cores
"""

import dataclasses

from configs import common
from experiments.config import DataConfig
from experiments.protocols.estimators import Estimators


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
