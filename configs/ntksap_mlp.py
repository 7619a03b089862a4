"""NTK-SAP on a fully connected network and the embedded digits: small enough for many seeds.

paper     not an experiment of arXiv 2304.02840; compares the estimators of its score
command   for e in finite_difference jvp trace; do for s in 0 1 2 3 4; do
            python -m experiments.run --config configs/ntksap_mlp.py \\
              --config.prune.options.estimator=$e --config.seed=$s; done; done
presets   :smoke (under a minute)
expected  EXPECTED, below: measured here; about 5 seconds a run on 2 cores
"""

import dataclasses

from configs import common
from experiments.config import DataConfig, Expected, TrainConfig
from experiments.protocols.prune_and_train.config import PruneAndTrain

EXPECTED = tuple(
    Expected(
        "test/accuracy", value, "measured here", "Student-t 95 %", plus_minus=plus_minus, n=5,
        where={"prune.options.estimator": estimator},
    )
    for estimator, value, plus_minus in (
        ("trace", 85.1, 1.9), ("jvp", 82.5, 3.0), ("finite_difference", 74.1, 9.4),
    )
)  # fmt: skip


def get_config(preset: str = "paper") -> PruneAndTrain:
    """The experiment under ``preset``."""
    paper = PruneAndTrain(
        model=common.model("mlp", widths=(128, 128)),
        data=DataConfig("digits"),
        prune=common.pruning(
            "ntksap", density=0.01, num_examples=100, batch_size=100, num_rounds=20, num_draws=5
        ),
        train=TrainConfig(duration="30ep", batch_size=64, schedule="cosine", learning_rate=0.05),
    )
    smoke = dataclasses.replace(
        paper,
        prune=common.pruning(
            "ntksap", density=0.1, num_examples=20, batch_size=20, num_rounds=2, num_draws=2
        ),
        train=dataclasses.replace(paper.train, duration="2ep"),
    )
    return common.pick(preset, paper=paper, smoke=smoke)
