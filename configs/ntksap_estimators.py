"""NTK-SAP's estimators: finite difference, exact directional derivative, exact trace.

paper     a question about arXiv 2304.02840, not an experiment of it
command   python -m experiments.run --config configs/ntksap_estimators.py
presets   :smoke (under a minute)
expected  not yet measured here
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, Estimators


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
