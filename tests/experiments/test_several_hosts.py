"""Two processes with two devices each are one run: its numbers, its files, its end, its return."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import lottery_problem
import numpy as np
import pytest

from experiments import hosts, run
from ntk_prune import masks, models, training
from ntk_prune.checkpoint import load_tree
from ntk_prune.ntk import empirical_ntk

sys.path.append(str(Path(__file__).parents[1] / "training"))
from training_problem import Problem, ingredients

WORDS = ("--config", lottery_problem.FILE, "--config.train.parallel=jit", "--config.levels=1",
         "--config.strategy.name=snip")  # fmt: skip

# Its threads write at once, so that a line may have lost its beginning.
GLOO = re.compile(r"\[Gloo\]|peer ranks")


def streamed_loss() -> float:
    """The loss of one epoch on batches from the host."""
    problem = Problem(*ingredients())
    step = training.make_train_step(problem.model, problem.optimizer, problem.prepare)
    how = training.distribute(step, "jit")
    rows = problem.order(0)
    feed = training.streamed(
        how, lambda start: ((problem.x[r], problem.y[r]) for r in rows[start:]), 2, 8,
        jax.random.key(7),
    )  # fmt: skip
    (epoch,) = training.fit(problem.create(), how, feed, 2, problem.rate)
    return epoch.loss


def kernel() -> list[list[float]]:
    network = models.mlp(num_classes=3, widths=(8,))
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 1)).astype(np.float32)
    params, state = network.init(jax.random.key(0), x)
    mask = masks.ones_like(params)
    return empirical_ntk(network, params, x, state=state, mask=mask, outputs="trace").tolist()


def launch(folder: Path, words: tuple[str, ...] = WORDS) -> list[subprocess.Popen]:
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, __file__, *words, "--workdir", str(folder / "pair")]
    return [
        subprocess.Popen(
            [*command, "--hosts", f"{address},{i},2,60"],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip


def end(processes: list[subprocess.Popen]) -> list[tuple[int, list[str], list[str]]]:
    """Status, output and errors of each, in lines, without those of gloo."""
    ends = []
    for process in processes:
        texts = process.communicate(timeout=120)
        out, err = ([x for x in t.splitlines() if x and not GLOO.search(x)] for t in texts)
        ends.append((process.returncode, out, err))
    return ends


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A run whose second process is killed, and which the same command ends."""
    folder = tmp_path_factory.mktemp("hosts")
    processes = launch(folder)
    file, until = folder / "pair/replicate_0/level_0/metrics.jsonl", time.monotonic() + 60
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    processes[1].kill()
    return folder / "pair", end(processes), end(launch(folder))


def test_a_lost_process_ends_the_run_in_one_line(pair):
    (status, _, errors), (killed, _, _) = pair[1]
    assert (status, killed) == (1, -signal.SIGKILL)
    assert errors == ["process 0: error: a process of this run was lost; the same command goes on"]


def test_the_run_has_the_numbers_of_one_process(pair, tmp_path):
    folder, _, ends = pair
    assert [status for status, _, _ in ends] == [0, 0], ends
    assert run.main([*WORDS, "--workdir", str(tmp_path / "one")]) == 0
    one, two = (
        {f.relative_to(p): f for f in sorted(p.rglob("*")) if f.is_file()}
        for p in (tmp_path / "one", folder)
    )
    assert one.keys() == two.keys()
    for name, file in one.items():
        if name.name == "mask.safetensors":
            assert file.read_bytes() == two[name].read_bytes(), name
        elif name.suffix == ".safetensors":
            for a, b in zip(
                *(jax.tree.leaves(load_tree(f)) for f in (file, two[name])), strict=True
            ):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_streams_and_kernels_have_the_numbers_of_one_process(pair):
    for process, (_, out, _) in enumerate(pair[2]):
        numbers = json.loads(out[-1])
        assert numbers["process"] == process
        assert len(out) == 1 or process == 0, "only process 0 prints"
        np.testing.assert_allclose(numbers["stream"], streamed_loss(), rtol=1e-5)
        np.testing.assert_allclose(numbers["kernel"], kernel(), rtol=1e-5)
        assert "parallel='jit'" in numbers["pmap"]


def test_the_environment_says_who_went_on(pair):
    env = json.loads((pair[0] / "env.json").read_text())
    assert env["processes"] == 2
    assert env["started"]["host"] == env["resumed"][0]["host"]
    assert env["started"]["pid"] != env["resumed"][0]["pid"]


def test_a_branch_of_a_run_of_one_process(tmp_path):
    parent = tmp_path / "parent"
    assert run.main([*WORDS, "--workdir", str(parent)]) == 0
    words = ("--config", "lottery_branch:oneshot", f"--config.parent={parent}")
    ends = end(launch(tmp_path, words))
    assert [status for status, _, _ in ends] == [0, 0], ends
    assert run.main([*words, "--workdir", str(tmp_path / "one")]) == 0
    one, two = (
        {f.relative_to(p): f.read_bytes() for f in p.rglob("mask.safetensors")}
        for p in (tmp_path / "one", tmp_path / "pair")
    )
    assert one
    assert one == two
    reached = [json.loads((tmp_path / p / "DONE").read_text()) for p in ("one", "pair")]
    assert reached[0].keys() == reached[1].keys()


def test_waiting_for_the_others_ends(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(hosts, "leave", lambda status: None)
    with socket.socket() as s:
        s.bind(("localhost", 0))
        words = [
            "--hosts",
            f"localhost:{s.getsockname()[1]},1,2,1",
            "--workdir",
            str(tmp_path / "r"),
        ]
        assert run.main([*WORDS, *words]) == 2
    assert "does not listen" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("text", ["two", "node,0,2", "node:1,2,2", "node:1,0", "node:x,0,2"])
def test_processes_that_cannot_be(text, capsys):
    assert run.main([*WORDS, "--hosts", text]) == 2
    assert "--hosts" in capsys.readouterr().err


if __name__ == "__main__":
    from experiments.config import TrainConfig
    from experiments.factories.training import choose_devices

    status = run.main(sys.argv[1:])
    try:
        choose_devices(TrainConfig(), None)  # pyright: ignore
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    numbers = {"stream": streamed_loss(), "kernel": kernel(), "pmap": refusal}
    print(json.dumps({"process": jax.process_index(), **numbers}), flush=True)
    sys.exit(status)
