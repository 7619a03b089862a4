"""Lotteries killed at random moments end with the same bytes as whole ones; 21 kills in all."""

import kills
import pytest
from lottery_problem import FILE

WORDS = ("pretraining.duration=1ep", "branches=randomly_prune", "levels=1", "train.duration=3ep")


@pytest.fixture(scope="module")
def processes():
    with kills.processes() as context:
        yield context


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(processes, tmp_path, seed):
    words = ["--config", FILE, *(f"--config.{word}" for word in (*WORDS, f"seed={seed}"))]
    whole = kills.check_killed_at_random(processes, tmp_path, words, kills=7, seed=seed)
    assert len([name for name in whole if name.endswith("DONE")]) == 9
