"""VOC 2012 in the layout of its devkit, and the digits that stand for it without any files."""

import re

import numpy as np
import pytest
from PIL import Image

from ntk_prune import data
from ntk_prune.data import segmentation

NAMES = {"train": ["2007_000032", "2007_000039", "2008_000015"], "val": ["2007_000033"]}


def voc_palette():
    """Bits ``3b``, ``3b + 1``, ``3b + 2`` of a class number are bits ``7 - b`` of R, G, B."""
    colours = np.zeros((256, 3), np.uint8)
    for number in range(256):
        for bit in range(8):
            for channel in range(3):
                colours[number, channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return colours


def mask_of(number):
    """A mask of class ``number`` on background, with a border of 255."""
    labels = np.zeros((60, 80), np.uint8)
    labels[18:42, 18:62] = 255
    labels[20:40, 20:60] = number
    return labels


def write(root, name, number):
    for folder in ("JPEGImages", "SegmentationClass"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    labels = mask_of(number)
    image = np.repeat(np.where(labels == number, 200, 50).astype(np.uint8)[..., None], 3, -1)
    Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    mask = Image.fromarray(labels)
    mask.putpalette(voc_palette().tobytes())
    assert mask.mode == "P"
    mask.save(root / "SegmentationClass" / f"{name}.png")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, names in NAMES.items():
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            write(root, name, 15)
    write(root, "2009_000001", 3)  # in neither split
    return root


def load(data_dir, **options):
    return data.open_stream("voc2012", data_dir=data_dir, **options)


def test_palette_is_that_of_voc():
    assert voc_palette()[[0, 1, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip


def test_what_is_loaded(root):
    voc = load(root)
    assert (voc.num_train, voc.num_test, voc.num_classes) == (3, 1, 21)
    assert voc.classes[15] == "person"
    assert voc.image_shape == (513, 513, 3)
    assert voc.mean == (0.485, 0.456, 0.406)
    assert voc.y_train is None


@pytest.mark.parametrize("up", [0, 1, 2])
def test_devkit_year_or_parent(root, up):
    assert load([root, *root.parents][up]).num_train == 3


def test_masks_are_indices_and_keep_their_border(root):
    x, y, weight = next(load(root, image_size=60).test_batches(1))
    np.testing.assert_array_equal(y[0], mask_of(15)[:, 10:70])
    assert np.abs(x[0, 30, 30].astype(int) - 200).max() < 5
    assert weight.tolist() == [1]
    x, y = load(root, image_size=60).examples(np.array([1]))
    np.testing.assert_array_equal(y[0], mask_of(15)[:, 10:70])


def test_training_batches(root):
    voc = load(root, image_size=50)
    for x, y in (next(voc.train_batches(s, 3)) for s in range(10)):
        assert (x.shape, y.shape, y.dtype) == ((3, 50, 50, 3), (3, 50, 50), np.int32)
        assert set(np.unique(y)) <= {0, 15, 255}
        assert (x[y == 15] > 90).all()
        assert (x[y == 0] < 160).all()


def rgb_mask(root):
    Image.new("RGB", (80, 60)).save(root / "SegmentationClass" / "2007_000032.png")


def other_size(root):
    Image.new("L", (60, 80)).save(root / "SegmentationClass" / "2007_000032.png")


def other_class(root):
    Image.new("L", (80, 60), 21).save(root / "SegmentationClass" / "2007_000032.png")


def no_mask(root):
    (root / "SegmentationClass" / "2007_000032.png").write_bytes(b"x")


def no_picture(root):
    (root / "JPEGImages" / "2007_000032.jpg").write_bytes(b"x")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (rgb_mask, r"mask .*2007_000032.png has colours \(mode RGB\)"),
        (other_size, r"2007_000032.png is \(60, 80\), its picture is \(80, 60\)"),
        (other_class, r"mask .*2007_000032.png has the class 21; expected 0..20 or 255"),
        (no_mask, r"cannot decode mask .*2007_000032.png"),
        (no_picture, r"cannot decode image .*2007_000032.jpg"),
    ],
)
def test_what_cannot_be_used_is_named(root, break_it, message):
    break_it(root)
    with pytest.raises(ValueError, match=message) as raised:
        load(root).examples(np.array([0]))
    assert "\n" not in str(raised.value)


def test_layout_is_said_in_one_line(root, tmp_path):
    with pytest.raises(ValueError, match=r"voc2012 needs data_dir: expected VOCdevkit/VOC2012/"):
        load(None)
    with pytest.raises(FileNotFoundError, match=rf"no PASCAL VOC 2012 in {tmp_path}/x: expected"):
        load(tmp_path / "x")
    missing = root / "SegmentationClass" / "2007_000033.png"
    missing.unlink()
    with pytest.raises(
        FileNotFoundError, match=re.escape(f"2007_000033, but there is no {missing}")
    ):
        load(root)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_text("\n")
    with pytest.raises(FileNotFoundError, match=r"train.txt is missing or empty: expected"):
        load(root)


def test_augmentation_is_its_own(root):
    with pytest.raises(
        ValueError, match="voc2012 has its own augmentation; augment must be 'none'"
    ):
        load(root, augment="moco")


@pytest.fixture(scope="module")
def digits():
    return data.open_stream("digits_segmentation")


def test_digits_to_segment(digits):
    assert (digits.num_train, digits.num_test, digits.num_classes) == (1437, 360, 11)
    assert digits.classes[:3] == ("background", "0", "1")
    x, y = digits.examples(np.arange(1437))
    assert x.shape == (1437, 32, 32, 3)
    assert set(np.unique(y)) == {*range(11), 255}
    ink = x[..., 0]
    assert (ink[(y > 0) & (y < 255)] >= 128).all()
    assert (ink[y == 0] < 48).all()
    pixels = x / 255
    np.testing.assert_allclose(digits.mean, pixels.mean((0, 1, 2)))


def test_two_digits_in_every_picture_the_first_as_in_the_set(digits):
    flat = data.load("digits", image_size=segmentation.GLYPH)
    _, y = digits.examples(np.arange(1437))
    for half, expected in ((y[..., :16], flat.y_train), (y[..., 16:], None)):
        classes = [set(np.unique(mask)) - {0, 255} for mask in half]
        assert all(len(c) == 1 for c in classes)
        found = np.array([c.pop() - 1 for c in classes])
        if expected is not None:
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.sort(found), np.sort(flat.y_train))


def test_digits_are_always_the_same(digits):
    again = data.open_stream("digits_segmentation")
    for first, second in zip(digits.test_batches(100), again.test_batches(100), strict=True):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
