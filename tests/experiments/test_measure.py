"""Two trained networks are loaded, checked against each other and measured."""

import json
import shutil

import jax
import numpy as np
import pytest
from lottery_problem import lottery, part

from experiments import factories, measure
from experiments.comparison import Settings
from experiments.config import DataConfig
from experiments.trained import load
from ntk_prune import landscape

SMALL = ["--points=3", "--similarity_images=300", "--hessian_images=100", "--probes=4",
         "--kernel_images=5"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return lottery(tmp_path_factory.mktemp("runs") / "lottery", "levels=1")


@pytest.fixture(scope="module")
def measured(runs, tmp_path_factory):
    """Of the tickets of two seeds."""
    out = tmp_path_factory.mktemp("out")
    a, b = (str(part(runs, replicate, 1)) for replicate in (0, 1))
    assert measure.main([a, b, "--out", str(out), *SMALL]) == 0
    assert (out / "line.png").stat().st_size > 1000
    return json.loads((out / "measure.json").read_text())


def error(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_the_line_ends_at_the_errors_of_the_runs(runs, measured):
    line = measured["connectivity"]
    assert line["t"] == [0, 0.5, 1]
    for end, replicate in ((0, 0), (-1, 1)):
        done = json.loads((part(runs, replicate, 1) / "DONE").read_text())
        assert 1 - line["test/error"][end] == pytest.approx(done["test/accuracy"], abs=1e-6)
    assert line["lmc"] == landscape.mode_connectivity(line["train/error"]).value
    assert line["barrier/test/loss"] == landscape.barrier_height(line["test/loss"])


def test_all_measures_come_with_their_counts_and_errors(measured):
    assert [n["density"] for n in measured["networks"]] == [pytest.approx(0.8, abs=1e-3)] * 2
    assert measured["similarity"]["train"]["images"] == 300
    for alike in measured["similarity"].values():
        assert 0 < alike["cka/unbiased"] < alike["cka"] < 1
        assert 0 < alike["agreement"] < 1
    for hessian in measured["hessian"]:
        assert hessian["top"] > 0
        assert hessian["trace/sem"] > 0
        assert (hessian["trace/n"], hessian["images"]) == (4, 64)
    assert measured["ntk"]["eigenspace/dimensions"] == 10
    assert 0 < measured["ntk"]["eigenspace/overlap"] < 1
    assert measured["ntk"]["relative_distance"] > 0
    printed = "\n".join(measure.lines(measured))
    assert "+-" in printed
    assert "standard error, n = 4" in printed


def test_a_network_is_like_itself(runs, tmp_path):
    path = str(part(runs, 0, 0))
    out = ["--out", str(tmp_path), "--points=2", "--hessian_images=0", "--kernel_images=5"]
    assert measure.main([path, path, *out]) == 0
    numbers = json.loads((tmp_path / "measure.json").read_text())
    assert "hessian" not in numbers
    assert numbers["similarity"]["test"]["cka"] == pytest.approx(1)
    assert numbers["similarity"]["test"]["agreement"] == 1
    assert numbers["ntk"]["relative_distance"] == 0
    assert numbers["ntk"]["eigenspace/overlap"] == pytest.approx(1)
    assert measure.main([path, path, *out, "--kernel_images=0"]) == 0
    assert "ntk" not in json.loads((tmp_path / "measure.json").read_text())


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("model", {"options": {"widths": [12, 9]}}, "mlp widths=(12, 8)"),
        ("data", {"channels": 3}, "data digits and digits channels=3"),
        ("train", {"loss": "squared_error"}, "loss cross_entropy and squared_error"),
    ],
)
def test_runs_that_do_not_fit_together_are_one_line(
    section, change, message, runs, tmp_path, capsys
):
    other = tmp_path / "other"
    shutil.copytree(runs, other)
    config = json.loads((other / "config.json").read_text())
    config[section] |= change
    (other / "config.json").write_text(json.dumps(config))
    assert measure.main([str(part(runs, 0, 1)), str(part(other, 0, 1)), "--out", "x"]) == 2
    line = error(capsys)
    assert "do not fit together" in line
    assert message in line


def test_what_cannot_be_measured_is_one_line(runs, tmp_path, capsys):
    a = str(part(runs, 0, 0))
    assert measure.main([a, str(tmp_path / "none")]) == 2
    assert "no trained network in" in error(capsys)
    assert measure.main([a, str(runs)]) == 2
    assert "name one of those inside" in error(capsys)
    assert measure.main([a, a, "--points=1"]) == 2
    assert "points: expected at least 2" in error(capsys)
    assert measure.main([a, a, "--kernel_images=1000"]) == 2
    assert "kernel_images: expected at most 819 with 10 classes" in error(capsys)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(runs / "replicate_0", unfinished)
    (unfinished / "level_0/DONE").unlink()
    assert measure.main([a, str(unfinished / "level_0")]) == 2
    assert "is unfinished" in error(capsys)
    assert measure.main([a, str(unfinished / "level_1")]) == 2
    assert "belongs to no run" in error(capsys)


def test_masks_are_part_of_a_trained_network(runs):
    network = load(part(runs, 0, 1))
    pruned = jax.tree.map(
        lambda p, m: bool(np.all(np.asarray(p)[~m] == 0)), network.params, network.mask
    )
    assert all(jax.tree.leaves(pruned))
    assert Settings().points == 11


def test_images_in_order_are_every_image_once():
    dataset = factories.load_data(DataConfig("digits"))
    for split, x in (("train", dataset.x_train), ("test", dataset.x_test)):
        batches = list(factories.in_order(dataset, split, 100))
        np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), x)
        first = list(factories.in_order(dataset, split, 100, 130))
        assert [len(labels) for _, labels in first] == [100, 30]
