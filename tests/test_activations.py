"""What an activation does at a ReLU, a max pool and a batch norm, entry by entry."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune.activations import PLAIN, Open, Record, Replay

POOLS = [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)]  # window, stride, padding
every_pool = pytest.mark.parametrize("pool", POOLS)


def image(seed: int) -> np.ndarray:
    """``[2, 7, 6, 3]`` below zero with many ties, which padding must not win."""
    return -1.0 - np.random.default_rng(seed).integers(0, 3, (2, 7, 6, 3)).astype(np.float32)


def windows(x, window, stride, padding):
    """``(place in the pool, the entries of its window [B, count, C])`` in the image's order."""
    sizes = [(n + 2 * padding - window) // stride + 1 for n in x.shape[1:3]]
    for place in itertools.product(*map(range, sizes)):
        corner = [p * stride - padding for p in place]
        rows, columns = (
            slice(max(c, 0), min(c + window, n)) for c, n in zip(corner, x.shape[1:3], strict=True)
        )
        yield place, x[:, rows, columns].reshape(len(x), -1, x.shape[3])


@every_pool
def test_the_plain_pool_is_the_largest_entry_and_the_open_one_the_sum(pool):
    x = image(0)
    largest, total = PLAIN.max_pool(x, *pool), Open().max_pool(x, *pool)
    for (i, j), entries in windows(x, *pool):
        np.testing.assert_array_equal(largest[:, i, j], entries.max(1))
        np.testing.assert_array_equal(total[:, i, j], entries.sum(1))


@every_pool
def test_the_replayed_pool_passes_one_winner_also_among_equals(pool):
    """The first one, which is the pool's own derivative."""
    recorded, x = image(0), image(1)
    record = Record()
    np.testing.assert_array_equal(record.max_pool(recorded, *pool), PLAIN.max_pool(recorded, *pool))
    replayed = Replay(record.gates).max_pool(x, *pool)
    both = zip(windows(recorded, *pool), windows(x, *pool), strict=True)
    for ((i, j), before), (_, entries) in both:
        winner = before.argmax(1)[:, None]
        expected = np.take_along_axis(entries, winner, axis=1)[:, 0]
        np.testing.assert_array_equal(replayed[:, i, j], expected)
    _, pull = jax.vjp(lambda x: PLAIN.max_pool(x, *pool), recorded)
    _, push = jax.vjp(lambda x: Replay(record.gates).max_pool(x, *pool), x)
    np.testing.assert_array_equal(pull(replayed)[0], push(replayed)[0])


def test_a_relu_at_zero_is_closed():
    x = jnp.array([-1.0, -0.0, 0.0, 1e-30, 2.0])
    record = Record()
    np.testing.assert_array_equal(record.relu(x), PLAIN.relu(x))
    slope = jax.vmap(jax.grad(PLAIN.relu))(x)
    np.testing.assert_array_equal(Replay(record.gates).relu(jnp.full(5, -3.0)), -3 * slope)
    np.testing.assert_array_equal(slope, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(Open().relu(x), x)


def test_gates_are_replayed_in_the_order_they_were_recorded():
    record = Record()
    for x in (jnp.array([1.0, -1.0]), jnp.array([-1.0, 1.0])):
        record.relu(x)
    replay, ones = Replay(record.gates), jnp.ones(2)
    assert [replay.relu(ones).tolist() for _ in range(2)] == [[1, 0], [0, 1]]


def test_affine_maps_keep_their_slope_squared_or_not_at_all():
    x, mean, slope, bias = (jnp.array([value]) for value in (2.0, 5.0, -3.0, 7.0))
    assert PLAIN.affine(x, mean, slope, bias) == Record().affine(x, mean, slope, bias) == 16
    assert Open().affine(x, mean, slope, bias) == 18
    assert Replay([]).affine(x, mean, slope, bias) == 2
    assert Replay([], slope=lambda s: s).affine(x, mean, slope, bias) == -6
