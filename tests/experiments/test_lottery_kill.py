"""Lotteries killed at random moments end with the same bytes as whole ones; 21 kills in all."""

import multiprocessing
import random
import time

import pytest
from lottery_problem import FILE

from experiments import run

WORDS = ("pretraining.duration=1ep", "branches=randomly_prune", "levels=1", "train.duration=3ep")
# What tells when and where a run was made.
OWN = {"env.json", "timing.jsonl", ".lock"}
KILLS = 7  # of each seed


@pytest.fixture(scope="module")
def processes():
    """Processes that fork from one that has imported everything, so that they start at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUM_CPU_DEVICES", "1")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # small programs, too
        yield forkserver()


def forkserver():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["experiments.run", "orbax.checkpoint", "pandas"])
    return context


def command(workdir, seed):
    flags = [f"--config.{word}" for word in (*WORDS, f"seed={seed}")]
    return ["--config", FILE, "--workdir", str(workdir), *flags]


def content(workdir):
    """The bytes of every file, by name."""
    files = [p for p in workdir.rglob("*") if p.is_file() and p.name not in OWN]
    return {str(p.relative_to(workdir)): p.read_bytes() for p in files}


def start(processes, workdir, seed):
    process = processes.Process(target=run.main, args=(command(workdir, seed),))
    process.start()
    return process


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(processes, tmp_path, seed):
    for name in ("warm", "whole"):
        began = time.monotonic()
        process = start(processes, tmp_path / name, seed)
        process.join(300)
        seconds = time.monotonic() - began
        assert process.exitcode == 0
    whole, rng = content(tmp_path / "whole"), random.Random(seed)
    assert len([name for name in whole if name.endswith("DONE")]) == 9
    left, attempt = KILLS, 0
    while left:
        attempt += 1
        workdir = tmp_path / f"killed_{attempt}"
        for _ in range(min(left, 3)):
            process = start(processes, workdir, seed)
            process.join(rng.uniform(0.05, 1.0) * seconds)
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            left -= 1
        process = start(processes, workdir, seed)
        process.join(300)
        assert process.exitcode == 0
        found = content(workdir)
        assert found.keys() == whole.keys()
        assert [name for name in whole if found[name] != whole[name]] == []
