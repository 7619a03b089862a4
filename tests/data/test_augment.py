"""Augmentation: identities, the window and its frequencies, and independence of the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_prune import data

X = np.random.default_rng(0).integers(1, 256, (8, 5, 6, 3), np.uint8)
KEY = jax.random.key(0)


def windows(x, padding, flip):
    """Every image that padding, cropping and mirroring can make of ``x``."""
    padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    height, width = x.shape[:2]
    size = range(2 * padding + 1)
    crops = [padded[i : i + height, j : j + width] for i in size for j in size]
    return crops + [crop[:, ::-1] for crop in crops] * flip


@pytest.mark.parametrize("flip", [False, True])
def test_every_result_is_a_window_and_all_windows_occur(flip):
    keys = jax.random.split(KEY, 400)
    results = jax.vmap(data.pad_crop_flip(1, flip), (0, None))(keys, X[0])
    possible = [w.tobytes() for w in windows(X[0], 1, flip)]
    counts = dict.fromkeys(possible, 0)
    for result in np.asarray(results):
        counts[result.tobytes()] += 1
    expected = len(keys) / len(possible)
    chi2 = sum((c - expected) ** 2 for c in counts.values()) / expected
    degrees = len(possible) - 1
    assert chi2 < degrees + 5 * np.sqrt(2 * degrees)


def test_without_padding_only_the_mirror_is_left():
    np.testing.assert_array_equal(data.pad_crop_flip(0, flip=False)(KEY, X[0]), X[0])
    np.testing.assert_array_equal(data.identity(KEY, X[0]), X[0])
    assert data.pad_crop_flip()(KEY, jnp.asarray(X[0])).dtype == jnp.uint8


def test_negative_padding():
    with pytest.raises(ValueError, match="padding must not be negative"):
        data.pad_crop_flip(-1)


@jax.jit
def augment(index, x, step=3):
    return data.augment_batch(data.pad_crop_flip(2), KEY, step, index, x)


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(8)))
def test_an_example_does_not_depend_on_its_batch(order):
    index = np.array(order, np.int32)
    whole = np.asarray(augment(np.arange(8), X))
    parts = [augment(part, X[part]) for part in (index[:3], index[3:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole[index])


def test_one_device_equals_four():
    index = np.arange(8, dtype=np.int32)
    split = jax.pmap(augment, devices=jax.devices()[:4])(
        index.reshape(4, 2), X.reshape(4, 2, 5, 6, 3)
    )
    np.testing.assert_array_equal(np.asarray(split).reshape(X.shape), augment(index, X))


def test_keys_are_those_promised_and_change_with_the_step():
    index = np.array([5, 5, 11], np.int32)
    x = np.stack([X[0]] * 3)
    result = augment(index, x)
    one = jax.random.fold_in(jax.random.fold_in(KEY, 3), 11)
    np.testing.assert_array_equal(result[2], data.pad_crop_flip(2)(one, X[0]))
    np.testing.assert_array_equal(result[0], result[1])
    assert not np.array_equal(augment(np.arange(8), X), augment(np.arange(8), X, step=4))


@pytest.mark.parametrize("shape", [(5, 6, 3), (2, 5, 6, 3), (2, 2, 5, 6, 3)])
def test_normalise_is_the_formula(shape):
    x = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    mean, std = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
    result = jax.jit(data.normalise(mean, std))(x)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, (x / 255.0 - mean) / std, rtol=1e-5, atol=1e-6)


def test_own_statistics_give_mean_zero_and_deviation_one():
    digits = data.load("digits")
    x = np.asarray(data.normalise(digits.mean, digits.std)(digits.x_train), np.float64)
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-5


def test_normalise_refuses():
    with pytest.raises(ValueError, match="2 means and 1 standard deviations for 2 channels"):
        data.normalise((0.5, 0.5), (1.0,))
    with pytest.raises(ValueError, match="must be positive"):
        data.normalise((0.5,), (0.0,))
    prepare = data.normalise((0.5,), (0.5,))
    with pytest.raises(TypeError, match=r"takes uint8 images .* got float32"):
        prepare(jnp.zeros((2, 2, 1)))
    with pytest.raises(ValueError, match="has 1 channels, the images have 3"):
        prepare(X)
