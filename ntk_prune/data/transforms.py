"""Augmentation on the host of images of any size: pure functions of a generator and Pillow images.

Sampling and rounding follow torchvision, which the published recipes use.
"""

import math

import numpy as np
from PIL import Image, ImageEnhance

BILINEAR, NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
IGNORE = 255  # the label of pixels that count nowhere

Picture = Image.Image
Rng = np.random.Generator
Box = tuple[int, int, int, int]


def crop_box(
    rng: Rng, size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> Box:
    """``(left, upper, right, lower)`` of a random crop of an image of ``size`` (width, height).

    The area is ``U(scale)`` of the image's, width / height is log-uniform in ``ratio``; of ten
    draws the first that fits, else the largest centred crop within ``ratio`` (1409.4842).
    """
    width, height = size
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(low, high))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, upper = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, upper, left + w, upper + h
    w, h = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


def random_resized_crop(
    rng: Rng,
    image: Picture,
    size: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Picture:
    """A random crop, see ``crop_box``, resized to ``size x size``."""
    # Cut first: Pillow's ``box`` argument would read across the border of the crop.
    return image.crop(crop_box(rng, image.size, scale, ratio)).resize((size, size), BILINEAR)


def random_flip(rng: Rng, *images: Picture) -> tuple[Picture, ...]:
    """All ``images`` mirrored left-right, with chance 1/2, or none."""
    if rng.random() < 0.5:
        return tuple(i.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for i in images)
    return images


def random_grayscale(rng: Rng, image: Picture, p: float = 0.2) -> Picture:
    """With chance ``p`` the luma of ITU-R 601 in all three channels."""
    return image.convert("L").convert("RGB") if rng.random() < p else image


def adjust_hue(image: Picture, shift: float) -> Picture:
    """Turn the hue by ``shift`` in [-1/2, 1/2] of the colour circle, in steps of 1/255."""
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(level + int(shift * 255)) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def color_jitter(
    rng: Rng,
    image: Picture,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.4,
) -> Picture:
    """Brightness, contrast, saturation and hue changed in random order.

    The first three blend the image with black, with its mean grey level and with its own grey
    version, by a factor ``U(1 - a, 1 + a)``, not below 0; the hue is turned by ``U(-hue, hue)``.
    """
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    strengths = (brightness, contrast, saturation)
    factors = [rng.uniform(max(0.0, 1 - a), 1 + a) for a in strengths]
    shift = rng.uniform(-hue, hue)
    for i in rng.permutation(4):
        image = enhancers[i](image).enhance(factors[i]) if i < 3 else adjust_hue(image, shift)
    return image


def resize_shorter(image: Picture, size: int, resample: Image.Resampling = BILINEAR) -> Picture:
    """The shorter side becomes ``size``, the longer keeps the proportion."""
    width, height = image.size
    shorter = min(width, height)
    return image.resize((size * width // shorter, size * height // shorter), resample)


def centre_crop(image: Picture, size: int) -> Picture:
    """The ``size x size`` square in the middle of an image that is at least as large."""
    left, upper = (round((side - size) / 2) for side in image.size)
    return image.crop((left, upper, left + size, upper + size))


def window(image: Picture, corner: tuple[int, int], size: int, fill: int) -> Picture:
    """The square with its upper left at ``corner`` (x, y), ``fill`` where it leaves the image."""
    square = Image.new(image.mode, (size, size), (fill,) * len(image.getbands()))
    square.paste(image, (-corner[0], -corner[1]))
    return square


def random_scale_crop(
    rng: Rng,
    image: Picture,
    mask: Picture,
    size: int,
    scale: tuple[float, float] = (0.5, 2.0),
) -> tuple[Picture, Picture]:
    """Both resized by ``U(scale)``, the mask to nearest pixels; then one random square of both.

    What is smaller than the square is centred in black, and ``IGNORE`` in the mask.
    """
    factor = rng.uniform(*scale)
    width, height = (max(1, int(side * factor)) for side in image.size)
    x, y = _offset(rng, width - size), _offset(rng, height - size)
    scaled = width, height
    return (
        window(image.resize(scaled, BILINEAR), (x, y), size, 0),
        window(mask.resize(scaled, NEAREST), (x, y), size, IGNORE),
    )


def _offset(rng: Rng, excess: int) -> int:
    return int(rng.integers(excess + 1)) if excess > 0 else excess // 2


def imagenet_standard(rng: Rng, image: Picture, size: int) -> Picture:
    """A crop of 8% to 100% of the area, and a flip (He et al., 1512.03385)."""
    return random_flip(rng, random_resized_crop(rng, image, size))[0]


def imagenet_moco(rng: Rng, image: Picture, size: int) -> Picture:
    """A crop of 20% to 100%, grey with chance 0.2, jittered colours, a flip (MoCo, 1911.05722)."""
    image = random_resized_crop(rng, image, size, scale=(0.2, 1.0))
    image = color_jitter(rng, random_grayscale(rng, image))
    return random_flip(rng, image)[0]


def imagenet_test(image: Picture, size: int) -> Picture:
    """The shorter side resized to ``8/7 size`` (256 for 224), and the middle of that."""
    return centre_crop(resize_shorter(image, size * 8 // 7), size)


def segmentation_train(
    rng: Rng, image: Picture, mask: Picture, size: int
) -> tuple[Picture, Picture]:
    """A random scale from 1/2 to 2, a random square with padding, and a flip."""
    image, mask = random_flip(rng, *random_scale_crop(rng, image, mask, size))
    return image, mask


def segmentation_test(image: Picture, mask: Picture, size: int) -> tuple[Picture, Picture]:
    """The shorter side resized to ``size``, and the middle square."""
    return (
        centre_crop(resize_shorter(image, size), size),
        centre_crop(resize_shorter(mask, size, NEAREST), size),
    )
