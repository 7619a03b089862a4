"""Criteria that follow paths refuse a network without paths, before anything is written."""

import pytest

from experiments import run
from experiments.config import DataConfig, ModelConfig, PruneConfig
from experiments.config.options import make_options
from experiments.errors import UserError
from experiments.protocols.prune_and_train.config import PruneAndTrain
from experiments.protocols.prune_and_train.run import make_setup
from ntk_prune.models import mlp


def config(method: str, activation: str) -> PruneAndTrain:
    """An MLP on the embedded digits."""
    network = ModelConfig("mlp", make_options(mlp, {"widths": (5,), "activation": activation}))
    return PruneAndTrain(model=network, data=DataConfig("digits"), prune=PruneConfig(method))


@pytest.mark.parametrize("method", ["px", "synflow_l2"])
def test_no_paths_is_one_line(method):
    with pytest.raises(UserError, match=r"^prune: .*tanh units has no paths to follow"):
        make_setup(config(method, "tanh"))


@pytest.mark.parametrize(("method", "activation"), [("px", "relu"), ("pxact", "tanh")])
def test_others_pass(method, activation):
    assert make_setup(config(method, activation)).pruner is not None


def test_other_protocols_refuse_before_they_write(tmp_path, capsys):
    words = ["--config", "configs/kernel_prediction_mlp.py:smoke", "--workdir", str(tmp_path / "a")]
    assert run.main([*words, "--config.prune.name=px", "--config.activation=tanh"]) == 2
    assert "tanh units has no paths" in capsys.readouterr().err
    words = ["--config", "configs/spectrum_resnet20.py:smoke", "--workdir", str(tmp_path / "b")]
    changes = ["--config.model.name=mlp", "--config.model.options.activation=tanh"]
    changes += ["--config.methods=px"]
    assert run.main([*words, *changes]) == 2
    assert "methods: a network of tanh units has no paths" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
