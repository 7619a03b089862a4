"""Runs from pretrained weights, under a ridge head, and on pixels."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import common, px_deeplab_voc2012, px_resnet50_cifar10, px_resnet50_imagenet10
from experiments import factories, run
from experiments.protocols.prune_and_train.run import initialise
from experiments.protocols.transfer import HEAD, Transfer, features, ridge_head, transfer
from experiments.store import Store
from ntk_prune.checkpoint import load_tree
from ntk_prune.interop import torch_layout
from ntk_prune.models import MODELS

NETWORK = {"depth": 18, "width": 4, "stem": "3x3"}


def torch_file(path, seed=5):
    """A file of torchvision's names and layouts for the tiny network, with a head of 1000 classes;
    the backbone it holds, as params."""
    network = MODELS["imagenet_resnet"](**NETWORK, num_classes=1000)
    params, state = network.init(jax.random.key(seed), np.zeros((1, 16, 16, 1)))
    named = {**params["backbone"], "fc": params["fc"]}
    inner = {"batch_stats": state["batch_stats"]["backbone"]}
    flat = jax.tree_util.tree_flatten_with_path({"params": named, "state": inner})[0]
    tensors = {}
    for key_path, leaf in flat:
        name = torch_layout.torch_name(key_path, torch_layout.imagenet_resnet_name)
        array = np.asarray(leaf)
        if array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        elif array.ndim == 2:
            array = array.T
        tensors[name] = np.ascontiguousarray(array)
    save_file(tensors, path)
    return params["backbone"]


def finish(tmp_path, config, *words):
    arguments = ["--config", config, "--workdir", str(tmp_path / "run"), *words]
    assert run.main(arguments) == 0
    return tmp_path / "run"


@pytest.mark.parametrize("method", ["px", "ntksap"])
def test_training_starts_from_the_weights_of_the_file(tmp_path, method):
    """Whatever a criterion draws while it scores, the pretrained weights are what is trained."""
    backbone = torch_file(tmp_path / "resnet.safetensors")
    words = [f"--config.model.weights={tmp_path / 'resnet.safetensors'}"]
    words += [f"--config.prune.name={method}", "--config.prune.options.num_rounds=2"]
    words += ["--config.train.duration=1it"]
    path = finish(tmp_path, "configs/px_resnet50_cifar10.py:smoke", *words)
    stored = load_tree(path / "params_init.safetensors")
    jax.tree.map(np.testing.assert_array_equal, stored["backbone"], backbone)
    drawn = jax.tree.leaves(stored["fc"])
    assert any(np.any(leaf) for leaf in drawn)


def test_a_file_that_does_not_fit_is_named_before_anything_is_written(tmp_path, capsys):
    file = tmp_path / "other.safetensors"
    save_file({"conv1.weight": np.zeros((4, 1, 3, 3), np.float32)}, file)
    words = ["--config", "configs/px_resnet50_cifar10.py:smoke", "--workdir", str(tmp_path / "run")]
    assert run.main([*words, f"--config.model.weights={file}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(file) in error
    assert "missing: bn1.bias" in error
    assert not (tmp_path / "run").exists()
    assert run.main([*words, "--config.model.weights=nowhere.pth"]) == 2
    assert "nowhere.pth" in capsys.readouterr().err


def test_a_criterion_of_paths_refuses_a_network_without(tmp_path, capsys):
    words = ["--config", "configs/px_resnet20.py:smoke", "--workdir", str(tmp_path / "run")]
    words += ["--config.model.name=mlp", "--config.model.options.activation=tanh"]
    assert run.main(words) == 2
    assert "tanh units has no paths" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def tiny_transfer() -> Transfer:
    config = px_resnet50_imagenet10.get_config("smoke")
    return dataclasses.replace(config, train=dataclasses.replace(config.train, duration="3it"))


def test_the_head_solves_the_ridge_problem_and_stays(tmp_path):
    """Normal equations of |ZW + b - Y|^2 + ridge |W|^2 hold; training moves features only."""
    config = tiny_transfer()
    recipe = factories.Recipe(config)
    params, state = initialise(config, recipe)
    head = ridge_head(config, recipe, params, state)
    z, y = features(config, recipe, params, state)
    kernel, bias = np.asarray(head["kernel"]), np.asarray(head["bias"])
    residual = z @ kernel + bias - np.eye(10)[y]
    np.testing.assert_allclose(residual.sum(0), 0, atol=1e-2)
    np.testing.assert_allclose(z.T @ residual, -config.ridge * kernel, atol=1e-2)

    store = Store(tmp_path / "run", config)
    transfer(config, store)
    final, mask = store.load("params_final"), store.load("mask")
    np.testing.assert_array_equal(
        final["params"][HEAD]["kernel"], np.where(mask[HEAD]["kernel"], kernel, 0)
    )
    np.testing.assert_array_equal(final["params"][HEAD]["bias"], bias)
    jax.tree.map(np.testing.assert_array_equal, final["state"], state)
    moved = final["params"]["backbone"]["conv1"]["kernel"] != params["backbone"]["conv1"]["kernel"]
    assert moved[mask["backbone"]["conv1"]["kernel"]].any()


def test_segmentation_measures_mean_iou_and_draws(tmp_path):
    path = finish(tmp_path, "configs/px_deeplab_voc2012.py:smoke", "--config.train.duration=2it")
    done = json.loads((path / "DONE").read_text())
    assert 0 <= done["test/miou"] <= 1
    assert "test/miou" in (path / "metrics.jsonl").read_text()
    assert (path / "predictions.png").stat().st_size > 10_000


def test_every_paper_row_resolves():
    """The published recipes are valid configs, with the presets that their docstrings name."""
    for preset, source in (("paper", "torchvision"), ("moco", "moco_v2"), ("clip", "clip")):
        config = px_resnet50_cifar10.get_config(preset)
        assert (config.model.weights_source, config.train.duration) == (source, "182ep")
        assert config.data.input_size == 224
    config = px_deeplab_voc2012.get_config("dino")
    assert config.train.rates() == {"backbone": 0.1}
    assert common.PRETRAINED["dino"][0] == config.model.weights
