"""Augmentation: identities, the window and its frequencies, and independence of the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ntk_prune import data
from ntk_prune.data import augment as augment_module
from ntk_prune.data import transforms

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


def crops(count, height, width, scale, ratio):
    """What ``resized_crop_flip`` draws: ``top, left, h, w``."""
    keys = jax.random.split(KEY, count)
    draw = jax.jit(jax.vmap(lambda k: augment_module._crop(k, height, width, scale, ratio)))
    return np.stack(draw(keys))


def test_crops_are_drawn_as_on_the_host():
    scale, ratio = (0.1, 1.0), (0.8, 1.25)
    for height, width in ((64, 64), (40, 90)):
        rng = np.random.default_rng(0)
        boxes = [transforms.crop_box(rng, (width, height), scale, ratio) for _ in range(4000)]
        left, upper, right, lower = np.transpose(boxes)
        host = np.stack([upper, left, lower - upper, right - left])
        device = crops(4000, height, width, scale, ratio)
        top, left, h, w = device
        assert (device[:2].min(), device[2:].min() > 0) == (0, True)
        for start, length, side in ((top, h, height), (left, w, width)):
            smaller = length < side
            assert (start + length)[smaller].max() == (start + length).max() == side
        for one, other in zip(
            [*host, host[2] * host[3]], [*device, device[2] * device[3]], strict=True
        ):
            error = np.hypot(one.std(), other.std()) / np.sqrt(4000)
            assert abs(one.mean() - other.mean()) < 5 * error
            np.testing.assert_allclose(one.std(), other.std(), rtol=0.1)


def test_crop_of_no_fitting_draw_is_the_largest_in_the_middle():
    assert crops(20, 10, 1000, (1.0, 1.0), (0.75, 4 / 3)).T.tolist() == [[0, 493, 10, 13]] * 20
    assert crops(20, 1000, 10, (1.0, 1.0), (0.75, 4 / 3)).T.tolist() == [[493, 0, 13, 10]] * 20


def test_resized_crop_is_pillows_and_the_flip_half_of_the_time():
    """Cut out, then stretched: what lies outside the crop is not read."""
    augment = jax.jit(data.resized_crop_flip())
    x = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    flips = 0
    for key in jax.random.split(KEY, 40):
        top, left, h, w = augment_module._crop(
            jax.random.split(key)[0], 24, 24, (0.1, 1.0), (0.8, 1.25)
        )
        cut = Image.fromarray(x).crop((int(left), int(top), int(left + w), int(top + h)))
        expected = np.asarray(cut.resize((24, 24), Image.Resampling.BILINEAR)).astype(int)
        result = np.asarray(augment(key, x))
        assert result.dtype == np.uint8
        errors = [np.abs(result - e).max() for e in (expected, expected[:, ::-1])]
        assert min(errors) <= 1  # Pillow rounds twice
        flips += errors[1] < errors[0]
    assert abs(flips - 20) < 5 * np.sqrt(10)


def test_whole_image_is_kept():
    whole = data.resized_crop_flip((1.0, 1.0), (1.0, 1.0))(KEY, X[0, :, :5])
    assert any(np.array_equal(whole, x) for x in (X[0, :, :5], X[0, :, 4::-1]))
    flat = data.resized_crop_flip()(KEY, np.full((9, 9, 3), 200, np.uint8))
    assert (np.asarray(flat) == 200).all()


@pytest.mark.parametrize("bounds", [((0.0, 1.0), (1, 1)), ((0.5, 1.1), (1, 1)), ((0.5, 1), (2, 1))])
def test_impossible_crops(bounds):
    with pytest.raises(ValueError, match="impossible bounds of a random crop: scale"):
        data.resized_crop_flip(*bounds)


@pytest.mark.parametrize(("old", "new"), [(32, 224), (8, 8), (30, 7)])
def test_resize_batch_is_pillows_bilinear(old, new):
    x = np.random.default_rng(0).integers(0, 256, (3, old, old, 3), np.uint8)
    result = jax.jit(data.resize_batch(new))(x)
    assert (result.shape, result.dtype) == ((3, new, new, 3), jnp.uint8)
    for image, y in zip(x, np.asarray(result).astype(int), strict=True):
        expected = Image.fromarray(image).resize((new, new), Image.Resampling.BILINEAR)
        assert np.abs(y - np.asarray(expected)).max() <= 1


def test_resize_batch_takes_any_leading_shape():
    x = X[:, :, :5].reshape(2, 4, 5, 5, 3)
    one = data.resize_batch(9)(x[1, 2])
    np.testing.assert_array_equal(data.resize_batch(9)(x)[1, 2], one)
    with pytest.raises(ValueError, match="image_size must be at least 1"):
        data.resize_batch(0)
