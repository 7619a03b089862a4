"""Random streams: reproducible, and apart from each other."""

import itertools

import jax
import numpy as np
import pytest

from ntk_prune.rng import NAMES, derived, stream


def bits(seed, name):
    return tuple(np.asarray(jax.random.key_data(stream(seed, name))).tolist())


def test_reproducible_and_distinct_over_names_and_seeds():
    keys = {pair: bits(*pair) for pair in itertools.product(range(20), NAMES)}
    assert len(set(keys.values())) == len(keys)
    assert keys[3, "init"] == bits(3, "init")


def test_streams_of_one_seed_are_uncorrelated():
    draws = np.stack([jax.random.normal(stream(0, name), (4000,)) for name in NAMES])
    correlation = np.corrcoef(draws) - np.eye(len(NAMES))
    assert np.abs(correlation).max() < 4 / np.sqrt(4000)


def test_unknown_stream():
    with pytest.raises(ValueError, match="unknown random stream 'inti'; choose one of init"):
        stream(0, "inti")


def test_derived_seeds_differ_by_seed_and_purpose():
    seeds = {derived(seed, purpose) for seed in range(100) for purpose in ("a", "b")}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derived(3, "a") == derived(3, "a")
