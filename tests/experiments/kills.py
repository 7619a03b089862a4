"""Runs that are killed at random moments and gone on with, against one that was left alone."""

import multiprocessing
import random
import time
from contextlib import contextmanager

import pytest

from experiments import run

# What tells when and where a run was made.
OWN = {"env.json", "timing.jsonl", ".lock"}
KILLS_OF_A_RUN = 3


@contextmanager
def processes():
    """Processes that fork from one that has imported everything, so that they start at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUM_CPU_DEVICES", "1")
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # small programs, too
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["experiments.run", "orbax.checkpoint", "pandas"])
        yield context


def content(workdir):
    """The bytes of every file, by name."""
    files = [p for p in workdir.rglob("*") if p.is_file() and p.name not in OWN]
    return {str(p.relative_to(workdir)): p.read_bytes() for p in files}


def start(context, workdir, words):
    process = context.Process(target=run.main, args=([*words, "--workdir", str(workdir)],))
    process.start()
    return process


def finish(context, workdir, words):
    """Run to the end; the seconds that it took."""
    began = time.monotonic()
    process = start(context, workdir, words)
    process.join(600)
    assert process.exitcode == 0
    return time.monotonic() - began


def check_killed_at_random(context, directory, words, kills, seed):
    """Kill runs of the command ``words`` at random moments, ``kills`` times in all, go on with
    each, and compare all files with those of a run that was left alone, which are returned."""
    finish(context, directory / "warm", words)
    seconds = finish(context, directory / "whole", words)
    whole, rng = content(directory / "whole"), random.Random(seed)
    left, attempt = kills, 0
    while left:
        attempt += 1
        workdir = directory / f"killed_{attempt}"
        for _ in range(min(left, KILLS_OF_A_RUN)):
            process = start(context, workdir, words)
            process.join(rng.uniform(0.05, 1.0) * seconds)
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            left -= 1
        finish(context, workdir, words)
        resumed = content(workdir)
        assert resumed.keys() == whole.keys()
        assert [name for name in whole if resumed[name] != whole[name]] == []
    return whole
