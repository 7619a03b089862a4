"""Encoded images: formats by content, transparency, orientation, files that are not read."""

import contextlib
import io
import os
import subprocess
import zipfile

import numpy as np
import pytest
from PIL import Image

from ntk_prune.data import images
from ntk_prune.data.folder import decode_one

SUNSET = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 9


def encoded(image, file_format, **options):
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_formats_without_loss_are_exact(file_format):
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = encoded(Image.fromarray(SUNSET), file_format, **options)
    np.testing.assert_array_equal(images.rgb(content), SUNSET)


def test_no_other_program_is_started_whatever_the_name(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a))
    monkeypatch.setattr(subprocess, "check_call", lambda *a, **k: started.append(a))
    path = tmp_path / "harmless.png"
    path.write_bytes(encoded(Image.fromarray(SUNSET), "EPS"))
    with pytest.raises(ValueError, match=r"harmless.png: \d+ bytes that are no image \(PNG, JPEG"):
        images.read_rgb(path)
    assert started == []


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparent_parts_are_white(mode):
    colours = np.dstack([SUNSET, np.full((2, 3), 255, np.uint8)])
    colours[0, 0, 3], colours[1, 2, 3] = 0, 0
    image = Image.fromarray(colours)
    if mode == "P":
        image = image.convert("RGB").quantize(8)
        corner = image.getpixel((0, 0))
        result = np.asarray(images.rgb(encoded(image, "PNG", transparency=corner)))
        assert (result[0, 0] == 255).all()
        return
    if mode == "PA":  # half transparent: the mean of the colour and white
        colours[..., 3] = 128
        result = np.asarray(images.rgb(encoded(Image.fromarray(colours), "PNG")), float)
        np.testing.assert_allclose(result, (colours[..., :3] * 128.0 + 255 * 127) / 255, atol=1)
        return
    result = np.asarray(images.rgb(encoded(image.convert(mode), "PNG")))
    assert (result[0, 0] == 255).all()
    assert (result[1, 2] == 255).all()
    if mode == "RGBA":
        np.testing.assert_array_equal(result[0, 1:], SUNSET[0, 1:])


def test_orientation_is_followed_where_it_is_asked_for(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    path = tmp_path / "turned.png"
    Image.fromarray(SUNSET).save(path, exif=exif)
    np.testing.assert_array_equal(images.read_rgb(path), SUNSET)
    np.testing.assert_array_equal(images.read_rgb(path, upright=True), np.rot90(SUNSET, -1))
    np.testing.assert_array_equal(decode_one(path, None), np.rot90(SUNSET, -1))


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path):
        with pytest.raises(ValueError, match="it is no regular file"):
            images.read_rgb(path)


def test_files_too_large_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    large = tmp_path / "large.png"
    large.write_bytes(b"x" * 1001)
    archive = tmp_path / "bomb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("large.png", b"0" * 100_000)
    for path in (large, zipfile.Path(archive, "large.png")):
        with pytest.raises(ValueError, match=r"large.png: .* bytes are too many for a file"):
            images.read_rgb(path)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_images_are_read_or_refused(seed):
    rng = np.random.default_rng(seed)
    for file_format in images.FORMATS:
        content = bytearray(encoded(Image.fromarray(SUNSET), file_format))
        for _ in range(rng.integers(1, 8)):
            content[rng.integers(len(content))] = rng.integers(256)
        content = bytes(content[: rng.integers(1, len(content) + 1)])
        with contextlib.suppress(OSError, ValueError):  # and nothing else
            assert images.rgb(content).mode == "RGB"
