"""Orders are permutations; score batches are random subsets without replacement."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_prune import data

KEY = jax.random.key(0)
N = 60
# Every image carries its own number, so that a batch tells which examples it holds.
X = np.arange(N, dtype=np.uint8).reshape(N, 1, 1, 1)
Y = (np.arange(N) % 3).astype(np.int32)


def prepare(x):
    return x.astype(np.float32)


def score_batches(num_examples, batch_size, key=KEY, y=Y, **options):
    return data.score_batches(
        key, y, lambda i: (X[i], y[i]), num_examples, batch_size, prepare, **options
    )


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([1, 24, 50]), st.integers(1, 50), st.integers(0, 3))
def test_an_epoch_visits_each_example_at_most_once(n, batch_size, epoch):
    if n < batch_size:
        with pytest.raises(ValueError, match=f"cannot fill a batch of {batch_size} with {n}"):
            data.epoch_order(KEY, epoch, n, batch_size)
        return
    order = np.asarray(data.epoch_order(KEY, epoch, n, batch_size))
    assert order.dtype == np.int32
    assert order.shape == (n // batch_size, batch_size)
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0
    assert order.max() < n
    whole = np.asarray(data.epoch_order(KEY, epoch, n, batch_size, drop_last=False))
    np.testing.assert_array_equal(whole[: len(order)], order)
    assert whole.shape == (-(-n // batch_size), batch_size)
    np.testing.assert_array_equal(np.sort(whole[whole >= 0]), np.arange(n))
    assert (np.sort(whole.ravel())[: whole.size - n] == -1).all()
    assert (np.diff(whole[-1] < 0) >= 0).all()  # only the end is filled up


def test_epochs_differ_and_repeat_for_the_same_key():
    orders = [np.asarray(data.epoch_order(KEY, e, 50, 10)) for e in (0, 1, 0)]
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[0], orders[2])
    assert not np.array_equal(orders[0], data.epoch_order(jax.random.key(1), 0, 50, 10))


def test_every_example_can_be_the_one_left_out():
    left_out = {
        (set(range(4)) - set(np.asarray(data.epoch_order(KEY, e, 4, 3)).ravel().tolist())).pop()
        for e in range(40)
    }
    assert left_out == {0, 1, 2, 3}


@pytest.mark.parametrize("balanced", [False, True])
def test_score_batches_hold_distinct_examples_with_their_labels(balanced):
    x, y = score_batches(30, 6, balanced=balanced)
    assert x.shape == (5, 6, 1, 1, 1)
    assert x.dtype == np.float32
    assert y.shape == (5, 6)
    assert y.dtype == np.int32
    chosen = np.asarray(x).ravel().astype(int)
    assert len(np.unique(chosen)) == 30
    np.testing.assert_array_equal(np.asarray(y).ravel(), Y[chosen])


def test_balanced_takes_the_same_number_of_every_class_in_every_batch():
    y = np.asarray(score_batches(30, 6, balanced=True).y)
    for batch in y:
        assert np.bincount(batch).tolist() == [2, 2, 2]


def test_balanced_examples_are_drawn_by_the_key():
    keys = (KEY, KEY, jax.random.key(1))
    one, again, other = (
        set(np.asarray(score_batches(30, 6, balanced=True, key=key).x).ravel()) for key in keys
    )
    assert one == again != other


def test_whole_set_is_a_permutation_and_keys_matter():
    x = np.asarray(score_batches(N, N).x).ravel()
    assert sorted(x) == list(range(N))
    other = np.asarray(score_batches(N, N, key=jax.random.key(1)).x).ravel()
    assert not np.array_equal(x, other)


def test_images_stay_bytes_until_they_are_taken():
    taken = []

    def count(x):
        taken.append(x.shape)
        return prepare(x)

    x, _ = data.score_batches(KEY, Y, lambda i: (X[i], Y[i]), 30, 6, count)
    taken.clear()  # of the shape
    assert (x.shape, x.ndim, len(x)) == ((5, 6, 1, 1, 1), 5, 5)
    assert taken == []
    first = next(iter(x))
    assert taken == [(6, 1, 1, 1)]
    np.testing.assert_array_equal(x[0, :1], first[:1])
    np.testing.assert_array_equal(x[np.array([1, 0])][1], first)
    np.testing.assert_array_equal(np.asarray(x)[0], first)


def test_real_images_are_normalised():
    digits = data.load("digits")
    normalise = data.normalise(digits.mean, digits.std)
    x, _ = data.score_batches(
        KEY, digits.y_train, digits.examples, 20, 10, normalise, balanced=True
    )
    assert x.shape == (2, 10, 8, 8, 1)
    assert float(np.min(x)) == pytest.approx(-digits.mean[0] / digits.std[0], rel=1e-5)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "options", "message"),
    [
        (10, 4, {}, "num_examples 10 is not a multiple of batch_size 4"),
        (0, 4, {}, "not a multiple"),
        (64, 4, {}, "num_examples 64 is more than the 60 training examples"),
        (10, 5, {"balanced": True}, "10 is not a multiple of 3 classes"),
        (
            30,
            5,
            {"balanced": True, "y": np.repeat([0, 1, 2], [5, 25, 30])},
            "10 examples a class wanted, class 0 has 5",
        ),
    ],
)
def test_score_batches_refuses(num_examples, batch_size, options, message):
    with pytest.raises(ValueError, match=message):
        score_batches(num_examples, batch_size, **options)
