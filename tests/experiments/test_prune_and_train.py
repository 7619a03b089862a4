"""The main protocol: killed runs, controls, what is stored."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments import run
from experiments.config import loading
from experiments.factories import Recipe
from experiments.protocols.prune_and_train import curvature
from experiments.protocols.prune_and_train.config import PruneAndTrain
from experiments.protocols.prune_and_train.run import initialise
from experiments.report import __main__ as report
from ntk_prune import masks, training
from ntk_prune.checkpoint import load_tree
from ntk_prune.inertial import one_shot

SMOKE = ["--config", "configs/snip_resnet20.py:smoke"]
COMPARED = ("metrics.jsonl", "mask.safetensors", "params_final.safetensors", "pruning.json", "DONE")


def finish(workdir, *words):
    assert run.main([*SMOKE, "--workdir", str(workdir), *words]) == 0
    return workdir


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("runs") / "run")


def kill_when(workdir, seen, timeout=180):
    """Start the run in a process of its own and kill it as soon as ``seen()`` holds."""
    words = [sys.executable, "-m", "experiments.run", *SMOKE, "--workdir", str(workdir)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)
    limit = time.monotonic() + timeout
    while not seen() and process.poll() is None:
        assert time.monotonic() < limit, "the run did not come that far"
        time.sleep(0.01)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_killed_run_goes_on_to_the_same_bytes(finished, tmp_path):
    workdir = tmp_path / "run"

    def epochs():
        log = workdir / "metrics.jsonl"
        return len(log.read_text().splitlines()) if log.exists() else 0

    kill_when(workdir, lambda: (workdir / "config.json").exists())
    kill_when(workdir, lambda: (workdir / "mask.safetensors").exists())
    assert not (workdir / "DONE").exists()
    kill_when(workdir, lambda: epochs() > 0)
    finish(workdir)
    for name in COMPARED:
        assert (workdir / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_run_killed_at_its_end_takes_the_evaluation_that_was_logged(
    finished, tmp_path, monkeypatch
):
    workdir = shutil.copytree(finished, tmp_path / "run")
    (workdir / "DONE").unlink()
    monkeypatch.setattr(training, "make_evaluate", lambda *_: pytest.fail)
    finish(workdir)
    assert (workdir / "DONE").read_bytes() == (finished / "DONE").read_bytes()


def test_what_is_stored_is_masked_and_counted(finished):
    mask, final = (
        load_tree(finished / "mask.safetensors"),
        load_tree(finished / "params_final.safetensors"),
    )
    for leaf, kept in zip(jax.tree.leaves(final["params"]), jax.tree.leaves(mask), strict=True):
        assert not leaf[~kept].any()
    table = json.loads((finished / "pruning.json").read_text())
    assert (
        table["kept"]
        == round(table["density"] * table["total"])
        == sum(m.sum() for _, m in masks.leaves(mask))
    )
    assert [layer["name"] for layer in table["layers"]][:2] == [
        "conv/kernel",
        "blocks_0/conv1/kernel",
    ]
    assert table["layers"][-1]["name"] == "fc/kernel"
    done = json.loads((finished / "DONE").read_text())
    assert done["nonzero"] == table["kept"]


def test_controls(finished, tmp_path):
    mask = load_tree(finished / "mask.safetensors")
    found = {}
    for control in ("shuffle", "reinit", "invert"):
        found[control] = finish(tmp_path / control, f"--config.prune.control={control}")
    shuffled = load_tree(found["shuffle"] / "mask.safetensors")
    assert masks.layer_counts(shuffled) == masks.layer_counts(mask)
    assert any(
        (a != b).any()
        for (_, a), (_, b) in zip(masks.leaves(shuffled), masks.leaves(mask), strict=True)
    )
    same = load_tree(found["reinit"] / "mask.safetensors")
    jax.tree.map(np.testing.assert_array_equal, same, mask)
    weights = [load_tree(d / "params_init.safetensors") for d in (finished, found["reinit"])]
    assert all((a != b).any() for (_, a), (_, b) in zip(*map(masks.leaves, weights), strict=True))
    inverted = load_tree(found["invert"] / "mask.safetensors")
    both = sum(
        (a & b).sum()
        for (_, a), (_, b) in zip(masks.leaves(inverted), masks.leaves(mask), strict=True)
    )
    assert both == 0


def test_seed_and_method_share_initial_weights_and_not_seeds(finished, tmp_path):
    other = finish(tmp_path / "magnitude", "--config.prune.name=magnitude")
    assert (other / "params_init.safetensors").read_bytes() == (
        finished / "params_init.safetensors"
    ).read_bytes()
    seed = finish(tmp_path / "seed", "--config.seed=1")
    assert (seed / "params_init.safetensors").read_bytes() != (
        finished / "params_init.safetensors"
    ).read_bytes()


def test_a_diverging_run_stops_with_one_line(tmp_path, capsys):
    status = run.main(
        [*SMOKE, "--workdir", str(tmp_path / "run"), "--config.train.learning_rate=1e30"]
    )
    error = capsys.readouterr().err
    assert status == 1
    assert "the training loss is" in error
    assert "at step" in error
    assert not (tmp_path / "run/DONE").exists()


def test_the_hessian_before_pruning_is_compared_with_the_mask(tmp_path):
    mlp = ["--config.model.name=mlp", "--config.model.options.widths=3"]
    path = finish(tmp_path / "run", *mlp, "--config.hessian_images=60", "--config.seed=3")
    numbers = json.loads((path / "curvature.json").read_text())
    config = loading.from_dict(PruneAndTrain, json.loads((path / "config.json").read_text()))
    recipe = Recipe(config)
    loss = curvature.dense_loss(config, recipe, *initialise(config, recipe))
    assert loss.num_labelled == numbers["images"] == 60
    values, vectors = np.linalg.eigh(np.asarray(loss.hessian().dense(), np.float64))
    np.testing.assert_allclose(numbers["top"]["values"], values[:-11:-1], atol=1e-4 * values[-1])
    kept = np.asarray(loss.coordinates.vector(load_tree(path / "mask.safetensors"))) > 0
    share = np.square(vectors[kept, -10:]).sum() / 10
    assert numbers["overlap"]["share"] == pytest.approx(share, abs=1e-3)
    assert numbers["overlap"]["chance"] == pytest.approx(kept.mean())
    sparsity = numbers["one_shot_sparsity"]
    exact = one_shot.predicted_sparsity(
        loss.w0, values, np.full(len(values), 1 / len(values)), sparsity["epsilon"]
    )
    assert abs(sparsity["value"] - exact) <= 4 * sparsity["sem"] + 1e-3
    assert report.main([str(path), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "predicted one-shot sparsity (%)" in page


@pytest.mark.parametrize("field", ["kernel_images", "hessian_images"])
def test_more_images_than_there_are_is_one_line(tmp_path, capsys, field):
    words = [*SMOKE, "--workdir", str(tmp_path / "run"), f"--config.{field}=5000"]
    assert run.main(words) == 2
    assert capsys.readouterr().err.startswith(f"error: {field}: expected at most 1437")
    assert not (tmp_path / "run").exists()
