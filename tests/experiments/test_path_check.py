"""Criteria that follow paths refuse a network without paths, before anything is written."""

import pytest

from experiments import build
from experiments.config import DataConfig, ModelConfig, PruneAndTrain, PruneConfig
from experiments.errors import UserError
from experiments.options import make_options
from ntk_prune.models import mlp


def config(method: str, activation: str) -> PruneAndTrain:
    """An MLP on the embedded digits."""
    network = ModelConfig("mlp", make_options(mlp, {"widths": (5,), "activation": activation}))
    return PruneAndTrain(model=network, data=DataConfig("digits"), prune=PruneConfig(method))


@pytest.mark.parametrize("method", ["px", "synflow_l2"])
def test_no_paths_is_one_line(method):
    with pytest.raises(UserError, match=r"^prune: .*tanh units has no paths to follow"):
        build.setup(config(method, "tanh"))


@pytest.mark.parametrize(("method", "activation"), [("px", "relu"), ("pxact", "tanh")])
def test_others_pass(method, activation):
    assert build.setup(config(method, activation)).pruner is not None
