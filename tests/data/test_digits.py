"""The embedded digits, and what every source shares: validation, resizing, channels, statistics."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from ntk_prune import data
from ntk_prune.data import dataset, digits


@pytest.fixture(scope="module")
def small():
    return data.load("digits")


def test_split_is_a_fixed_stratified_partition(small):
    from sklearn.datasets import load_digits

    pixels, y = load_digits(return_X_y=True)
    train, test = digits.split(y)
    assert (len(train), len(test)) == (1437, 360)
    assert sorted([*train, *test]) == list(range(1797))
    shares = np.bincount(y[test]) - np.bincount(y) / 5
    assert np.abs(shares).max() < 1
    np.testing.assert_array_equal(small.y_test, y[test])
    np.testing.assert_array_equal(
        small.x_train.reshape(-1, 64), np.rint(pixels[train] * 255 / 16).astype(np.uint8)
    )


def test_full_range_and_names(small):
    assert small.x_train.min() == 0
    assert small.x_train.max() == 255
    assert small.image_shape == (8, 8, 1)
    assert small.classes == tuple("0123456789")


@pytest.mark.parametrize("channels", [1, 3])
def test_resized(channels):
    loaded = data.load("digits", image_size=12, channels=channels)
    assert loaded.x_train.shape == (1437, 12, 12, channels)
    assert len(loaded.mean) == len(loaded.std) == channels
    for c in range(channels):
        np.testing.assert_array_equal(loaded.x_test[..., c], loaded.x_test[..., 0])


def test_resize_is_pillows_bilinear_and_keeps_constants():
    x = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), np.uint8)
    expected = Image.fromarray(x[1]).resize((4, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(dataset.resize(x, 4)[1], np.asarray(expected))
    assert dataset.resize(x, 6) is x
    assert dataset.resize(x, None) is x
    assert (dataset.resize(np.full((1, 5, 3, 1), 77, np.uint8), 8) == 77).all()


def test_grey_is_pillows_luma_and_undoes_repetition():
    x = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3), np.uint8)
    grey = dataset.to_channels(x, 1)
    np.testing.assert_array_equal(grey[0, ..., 0], np.asarray(Image.fromarray(x[0]).convert("L")))
    np.testing.assert_array_equal(dataset.to_channels(dataset.to_channels(grey, 3), 1), grey)


def test_statistics_are_those_of_the_training_pixels():
    x = np.random.default_rng(0).integers(0, 256, (5000, 2, 2, 3), np.uint8)
    x[..., 1] //= 3
    mean, std = dataset.channel_statistics(x)
    np.testing.assert_allclose(mean, (x / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (x / 255).std((0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((3, 8, 8, 1), np.float32)}, "expected uint8 images"),
        ({"x_test": np.zeros((0, 8, 8, 1), np.uint8)}, "expected uint8 images"),
        ({"y_train": np.zeros(3, np.int32)}, r"expected int32 labels \(1437,\)"),
        ({"y_test": np.zeros(360, np.int64)}, "expected int32 labels"),
        ({"y_test": np.full(360, 10, np.int32)}, r"labels 10..10 lie outside 0..9"),
        ({"y_test": np.full(360, -1, np.int32)}, "lie outside"),
        ({"x_test": np.zeros((360, 9, 9, 1), np.uint8)}, "test images"),
        ({"classes": ("a",)}, "1 class names for 10 classes"),
        ({"mean": (0.5, 0.5)}, "2 means"),
        ({"std": (0.0,)}, "must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(small, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(small, **changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size must be at least 1"),
        ({"channels": 2}, "channels must be 1 or 3"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ValueError, match=message):
        data.load("digits", **options)


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown data set 'cifar'; choose one of digits, folder"):
        data.load("cifar")
