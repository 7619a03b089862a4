"""Sweeps on a real Slurm of this machine: killed and preempted tasks end as local runs do.

Needs the packages slurmctld, slurmd, slurm-client and munge.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import sweep_problem
from sweep_problem import FILE, get_sweep

from experiments import run, sweep
from experiments.launch import cells, slurm

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")


def missing():
    path = f"{os.environ['PATH']}:/usr/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Slurm in a folder of its own, for the time of these tests."""
    pytest.importorskip("submitit")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run(["tools/slurm_here.sh", "start", str(folder)], check=True, timeout=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield folder
        subprocess.run(["tools/slurm_here.sh", "stop", str(folder)], check=True, timeout=60)


def on_slurm(root, *words):
    return sweep.main([f"{FILE}:long", "--root", str(root), *words])


def queue():
    """Number, state and reason of every job that has not ended. One that is begun again has several
    states in a second, not all of which squeue lists by default."""
    command = ["squeue", "-h", "-r", "-t", "all", "-o", "%A %T %r"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    jobs = [line.split(maxsplit=2) for line in lines]
    return [job for job in jobs if job[1] not in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT")]


def wait_for(condition, seconds=300):
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, queue()
        time.sleep(0.2)
    return value


def end_of_queue():
    """Let the jobs end; those that wait to be begun again need not wait two minutes."""

    def is_empty():
        jobs = queue()
        for number, _, reason in jobs:
            if reason == "BeginTime":
                release = ["scontrol", "update", f"jobid={number}", "StartTime=now"]
                subprocess.run(release, check=False, capture_output=True)
        return not jobs

    wait_for(is_empty)


def process_of(cell):
    """The process that runs the cell, once it trains."""
    wait_for((cell.workdir / "metrics.jsonl").exists)
    return json.loads((cell.workdir / "env.json").read_text())["started"]["pid"]


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_killed_and_preempted_tasks_end_with_the_bytes_of_a_local_run(cluster, tmp_path, capsys):
    some = cells.resolve(get_sweep("long"), {}, tmp_path / "slurm")
    assert on_slurm(tmp_path / "slurm", "--slurm", "partition=main", "time=10") == 0
    os.kill(process_of(some[0]), signal.SIGKILL)  # as the system does when memory is short
    second = process_of(some[1])
    os.kill(parent_of(second), signal.SIGKILL)  # the task
    os.kill(second, signal.SIGKILL)
    process_of(some[2])
    urgent = ["sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true"]
    subprocess.run(urgent, check=True, capture_output=True)
    wait_for(lambda: "restarts=1" in restarts())
    end_of_queue()
    capsys.readouterr()
    assert on_slurm(tmp_path / "slurm", "--status") == 0
    printed = capsys.readouterr().out
    assert "4 cells: 2 finished, 0 running, 1 failed, 1 waiting" in printed
    assert "failed: cell 1 (seed=0): killed by SIGKILL (out of memory?)" in printed
    assert on_slurm(tmp_path / "slurm", "--retry", "--slurm", "partition=main", "--pack", "2") == 0
    end_of_queue()
    assert on_slurm(tmp_path / "slurm", "--run") == 0, "nothing is left to run"
    for cell in cells.resolve(get_sweep("long"), {}, tmp_path / "local"):
        assert run.main(list(cell.words[2:])) == 0
    assert sweep_problem.runs(tmp_path / "slurm") == sweep_problem.runs(tmp_path / "local")


def test_a_cell_longer_than_the_time_limit_ends_with_the_bytes_of_a_local_run(cluster, tmp_path):
    """It stands still until Slurm warns of the end, which wakes it, and is begun again."""
    words = ["--config.train.duration=100ep", "--shard", "1/4"]
    fields = {"train.duration": "100ep"}
    limits = ["partition=main", "time=1", "signal_delay_s=30"]
    assert on_slurm(tmp_path / "slurm", *words, "--slurm", *limits) == 0
    cell = cells.resolve(get_sweep("long"), fields, tmp_path / "slurm")[0]
    os.kill(process_of(cell), signal.SIGSTOP)
    end_of_queue()
    assert json.loads((cell.workdir / "env.json").read_text())["resumed"]
    assert on_slurm(tmp_path / "slurm", *words, "--run") == 0, "nothing is left to run"
    alone = cells.resolve(get_sweep("long"), fields, tmp_path / "local")[0]
    assert run.main(list(alone.words[2:])) == 0
    assert sweep_problem.runs(tmp_path / "slurm") == sweep_problem.runs(tmp_path / "local")


def step(*words):
    """The command as two tasks of one step, with two devices each."""
    command = ["srun", "--ntasks=2", sys.executable, "-m", "experiments.run", *words]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_the_tasks_of_a_step_are_one_run(cluster, tmp_path):
    words = ["--config", f"{FILE}:long", "--config.train.duration=2ep",
             "--config.train.parallel=jit"]  # fmt: skip
    ended = step(*words, "--workdir", str(tmp_path / "two"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("test accuracy") == 1 + 2, "process 0 alone prints its epochs"
    env = json.loads((tmp_path / "two/env.json").read_text())
    assert (env["processes"], len(env["devices"])) == (2, 4)
    assert run.main([*words, "--workdir", str(tmp_path / "one")]) == 0
    two, one = (sweep_problem.content(tmp_path / name) for name in ("two", "one"))
    assert two.keys() == one.keys()
    assert two["mask.safetensors"] == one["mask.safetensors"]
    reached = [json.loads(content["DONE"])["test/loss"] for content in (two, one)]
    assert reached[0] == pytest.approx(reached[1], rel=1e-4)


def test_a_mistake_of_a_step_is_one_line(cluster, tmp_path):
    ended = step("--config", FILE, "--config.sed=1", "--workdir", str(tmp_path / "r"))
    assert ended.returncode == 2
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("srun: ")]
    (line,) = lines
    assert line.startswith("error: there is no --config.sed; did you mean ")


def restarts():
    jobs = subprocess.run(["scontrol", "show", "job", "-o"], capture_output=True, text=True).stdout
    return jobs.lower()


@pytest.mark.parametrize(
    ("option", "message"),
    [("partition=nowhere", "invalid partition"), ("bogus=1", "unrecognized option '--bogus=1'")],
)
def test_what_sbatch_refuses_is_one_line(cluster, tmp_path, capsys, option, message):
    assert on_slurm(tmp_path, "--slurm", option) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_submitit_is_asked_for_by_name(cluster, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: None)
    assert on_slurm(tmp_path, "--slurm") == 2
    assert "pip install '.[slurm]'" in capsys.readouterr().err
