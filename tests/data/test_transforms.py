"""Host augmentation: torchvision's formulas by hand, frequencies, and masks that follow images."""

import colorsys
import inspect
import itertools

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from ntk_prune.data import transforms


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(width, height, seed=0):
    return Image.fromarray(rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def pixels(image):
    return np.asarray(image).astype(np.int32)


def positions(width, height):
    """An image and a mask, both of which say at every pixel which one it is."""
    row, column = np.mgrid[:height, :width].astype(np.uint8)
    image = np.stack([row, column, row], axis=-1)
    return Image.fromarray(image), Image.fromarray(row * width % 251 + column)


BOUNDS = ((0.08, 1.0), (3 / 4, 4 / 3))


@pytest.mark.parametrize("size", [(40, 30), (31, 90), (7, 7)])
def test_crop_box_lies_inside_and_has_the_area_and_ratio(size):
    generator = rng()
    boxes = np.array([transforms.crop_box(generator, size, *BOUNDS) for _ in range(2000)])
    left, upper, right, lower = boxes.T
    assert boxes.min() >= 0
    assert right.max() <= size[0]
    assert lower.max() <= size[1]
    width, height = right - left, lower - upper
    assert min(width.min(), height.min()) >= 1
    # Rounding moves each side by at most half a pixel.
    assert (width - 0.5 <= (height + 0.5) * 4 / 3 + 1e-9).all()
    assert (height - 0.5 <= (width + 0.5) * 4 / 3 + 1e-9).all()
    assert ((width + 0.5) * (height + 0.5) >= 0.08 * size[0] * size[1]).all()


def test_mean_area_and_ratio_of_crops():
    """Crops of at most half of a square image are never rejected, so both are as drawn."""
    generator = rng()
    boxes = np.array(
        [transforms.crop_box(generator, (500, 500), (0.1, 0.5), (0.8, 1.25)) for _ in range(4000)]
    )
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    area = width * height / 500**2
    assert abs(area.mean() - 0.3) < 5 * 0.4 / np.sqrt(12 * 4000)
    assert abs(np.log(width / height).mean()) < 5 * 2 * np.log(1.25) / np.sqrt(12 * 4000)
    centre = (boxes[:, 0] + boxes[:, 2]) / 2
    assert abs(centre.mean() - 250) < 5


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1000, 10), (493, 0, 506, 10)),  # too wide: full height, 4/3 of it wide
        ((10, 1000), (0, 493, 10, 506)),
    ],
)
def test_after_ten_tries_the_largest_centred_crop(size, box):
    found = transforms.crop_box(rng(), size, (1.0, 1.0), (3 / 4, 4 / 3))
    assert found == box


def test_resized_crop_is_cut_first():
    image = noise(40, 30)
    box = transforms.crop_box(rng(3), image.size, *BOUNDS)
    expected = Image.fromarray(np.asarray(image)[box[1] : box[3], box[0] : box[2]])
    expected = expected.resize((16, 16), Image.Resampling.BILINEAR)
    result = transforms.random_resized_crop(rng(3), image, 16)
    np.testing.assert_array_equal(pixels(result), pixels(expected))


def test_flip_takes_all_images_or_none_half_of_the_time():
    image, mask = positions(6, 4)
    generator, count = rng(), 0
    for _ in range(400):
        x, y = transforms.random_flip(generator, image, mask)
        flipped = not np.array_equal(pixels(x), pixels(image))
        count += flipped
        np.testing.assert_array_equal(pixels(y), pixels(mask)[:, ::-1] if flipped else pixels(mask))
    assert abs(count - 200) < 5 * 10


def test_grey_with_its_probability_and_as_luma():
    image, generator = noise(5, 4), rng()
    results = [pixels(transforms.random_grayscale(generator, image)) for _ in range(1000)]
    grey = [r for r in results if (r == r[..., :1]).all()]
    assert abs(len(grey) - 200) < 5 * np.sqrt(1000 * 0.2 * 0.8)
    luma = pixels(image) @ [0.299, 0.587, 0.114]
    assert np.abs(grey[0][..., 0] - luma).max() <= 0.51
    assert all((r == pixels(image)).all() for r in results if not (r == r[..., :1]).all())


@pytest.mark.parametrize("shift", [-0.4, -0.1, 0.0, 0.25, 0.5])
def test_hue_is_turned(shift):
    """Against the standard library's conversion; Pillow rounds hue and saturation to 8 bits."""
    image = noise(30, 20)
    x = pixels(image) / 255
    expected = np.empty_like(x)
    for place in np.ndindex(x.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[place])
        expected[place] = colorsys.hsv_to_rgb((hue + int(shift * 255) / 256) % 1, saturation, value)
    result = pixels(transforms.adjust_hue(image, shift))
    assert np.abs(result - 255 * expected).max() < 12
    assert np.abs(result - 255 * expected).mean() < 1.5


@pytest.mark.parametrize("shift", [-0.4, -0.003, 0.1, 0.4])
def test_hue_wraps_round_after_256_levels(shift):
    image = noise(30, 20)
    hsv = np.asarray(image.convert("HSV")).copy()
    hsv[..., 0] = (hsv[..., 0].astype(int) + int(shift * 255)).astype(np.uint8)
    expected = Image.frombytes("HSV", image.size, hsv.tobytes()).convert("RGB")
    np.testing.assert_array_equal(pixels(transforms.adjust_hue(image, shift)), pixels(expected))


def blend(image, base, factor):
    """``factor * image + (1 - factor) * base`` in 0..255: brightness, contrast, saturation."""
    return np.clip(factor * pixels(image) + (1 - factor) * base, 0, 255)


@pytest.mark.parametrize("which", ["brightness", "contrast", "saturation"])
def test_each_jitter_is_a_blend(which):
    image = noise(12, 9)
    grey = pixels(image.convert("L"))
    base = {"brightness": 0, "contrast": round(grey.mean()), "saturation": grey[..., None]}[which]
    strengths = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0) | {which: 0.4}
    generator = rng(5)
    factors = {n: generator.uniform(1 - a, 1 + a) for n, a in strengths.items() if n != "hue"}
    result = transforms.color_jitter(rng(5), image, **strengths)
    # The identity in HSV costs some rounding of its own.
    hsv = np.abs(pixels(image.convert("HSV").convert("RGB")) - pixels(image)).max()
    assert np.abs(pixels(result) - blend(image, base, factors[which])).max() <= 2 + 1.4 * hsv


def test_jitter_draws_its_factors_and_its_order():
    image = Image.new("RGB", (2, 2), (100, 100, 100))  # grey: only the brightness acts
    levels = np.array(
        [pixels(transforms.color_jitter(rng(s), image))[0, 0, 0] for s in range(2000)]
    )
    assert levels.min() >= 60 - 1
    assert levels.max() <= 140
    assert abs(levels.mean() - 100) < 5 * 80 / np.sqrt(12 * 2000) + 0.5
    assert abs(levels.std() - 80 / np.sqrt(12)) < 1.5


def test_jitter_in_random_order():
    """Which of the 24 orders of the four changes gives the result?"""
    image, found = noise(6, 6), set()
    for seed in range(60):
        generator = rng(seed)
        factors = [generator.uniform(0.6, 1.4) for _ in range(3)]
        shift = generator.uniform(-0.4, 0.4)
        changes = [
            lambda i, f=factors[0]: ImageEnhance.Brightness(i).enhance(f),
            lambda i, f=factors[1]: ImageEnhance.Contrast(i).enhance(f),
            lambda i, f=factors[2]: ImageEnhance.Color(i).enhance(f),
            lambda i, s=shift: transforms.adjust_hue(i, s),
        ]
        result = transforms.color_jitter(rng(seed), image).tobytes()
        for order in itertools.permutations(range(4)):
            changed = image
            for k in order:
                changed = changes[k](changed)
            if changed.tobytes() == result:
                found.add(order)
                break
        else:
            pytest.fail(f"no order gives the result of seed {seed}")
    assert len(found) > 15


@pytest.mark.parametrize(("size", "expected"), [((50, 40), (320, 256)), ((30, 70), (256, 597))])
def test_shorter_side(size, expected):
    assert transforms.resize_shorter(noise(*size), 256).size == expected


def test_imagenet_test_transform():
    image = noise(500, 375)
    resized = image.resize((341, 256), Image.Resampling.BILINEAR)
    expected = pixels(resized)[16:240, 58:282]  # round((341 - 224) / 2) = 58, to even
    np.testing.assert_array_equal(pixels(transforms.imagenet_test(image, 224)), expected)


@pytest.mark.parametrize("recipe", [transforms.imagenet_standard, transforms.imagenet_moco])
def test_recipes_depend_on_the_generator_alone(recipe):
    image = noise(50, 40)
    first, again, other = (pixels(recipe(rng(s), image, 24)) for s in (1, 1, 2))
    assert first.shape == (24, 24, 3)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_published_strengths():
    jitter = inspect.signature(transforms.color_jitter).parameters
    assert [jitter[n].default for n in ("brightness", "contrast", "saturation", "hue")] == [0.4] * 4
    assert inspect.signature(transforms.random_grayscale).parameters["p"].default == 0.2
    crop = inspect.signature(transforms.random_resized_crop).parameters
    assert (crop["scale"].default, crop["ratio"].default) == BOUNDS


def test_moco_crops_at_least_a_fifth(monkeypatch):
    scales = []
    crop_box = transforms.crop_box
    monkeypatch.setattr(
        transforms, "crop_box", lambda r, size, s, a: scales.append(s) or crop_box(r, size, s, a)
    )
    transforms.imagenet_moco(rng(), noise(9, 9), 4)
    transforms.imagenet_standard(rng(), noise(9, 9), 4)
    assert scales == [(0.2, 1.0), (0.08, 1.0)]


@pytest.mark.parametrize("size", [8, 20, 100])
@pytest.mark.parametrize("seed", range(5))
def test_image_and_mask_move_alike(size, seed):
    """Red is 10 times the class, in both; smooth enough to be recognised after interpolation."""
    labels = np.repeat(np.repeat(rng().integers(0, 21, (4, 5), np.uint8), 10, 0), 10, 1)
    image = Image.fromarray(np.repeat(labels[..., None] * 10, 3, -1))
    x, y = transforms.segmentation_train(rng(seed), image, Image.fromarray(labels), size)
    x, y = pixels(x)[..., 0], pixels(y)
    assert x.shape == y.shape == (size, size)
    inside = y != transforms.IGNORE
    assert (x[~inside] == 0).all()
    assert set(np.unique(y[inside])) <= set(np.unique(labels))
    agree = np.abs(x - 10 * y)[inside] == 0
    assert agree.mean() > 0.5  # all but the edges between two classes
    row = y[inside.any(1)][:, inside.any(0)]
    assert (row != transforms.IGNORE).all()  # padding surrounds one rectangle


def test_random_scale_covers_its_range():
    generator, mask = rng(), Image.new("L", (100, 100))
    sides = []
    for _ in range(1000):
        _, y = transforms.random_scale_crop(generator, Image.new("RGB", (100, 100)), mask, 200)
        sides.append((pixels(y) == 0).any(1).sum())
    assert min(sides) >= 50
    assert max(sides) <= 200
    assert abs(np.mean(sides) - 125) < 5 * 150 / np.sqrt(12 * 1000) + 1


def test_ignored_pixels_stay_and_none_appear_under_nearest():
    labels = rng().choice(np.array([0, 7, 255], np.uint8), (40, 60))
    image = noise(60, 40)
    for seed in range(20):
        _, y = transforms.segmentation_train(rng(seed), image, Image.fromarray(labels), 16)
        assert set(np.unique(pixels(y))) <= {0, 7, 255}
    _, y = transforms.segmentation_test(image, Image.fromarray(labels), 24)
    assert set(np.unique(pixels(y))) == {0, 7, 255}


def test_segmentation_test_transform_is_the_middle_square():
    image, mask = positions(60, 40)
    x, y = transforms.segmentation_test(image, mask, 40)
    np.testing.assert_array_equal(pixels(x), pixels(image)[:, 10:50])
    np.testing.assert_array_equal(pixels(y), pixels(mask)[:, 10:50])
