"""Encoded images: which files are read, and what their colours are."""

import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF")
"""By a file's content, whatever its name. Pillow would hand others to programs of their own."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MAX_BYTES = 2**28
"""A larger file is taken for no image and is not read."""

UNREADABLE = (
    OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    RuntimeError, KeyError, IndexError,
)  # fmt: skip
"""What reading a damaged, encrypted or foreign archive, or a member of one, can raise."""

Root = Path | zipfile.Path
"""A folder or file, or one within a .zip file."""


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def read_rgb(path: Root, *, upright: bool = False) -> Image.Image:
    """The image in one file, as ``rgb``; ValueError, naming it, where that is impossible."""
    try:
        return rgb(content(path), upright=upright)
    except UNREADABLE as error:
        raise ValueError(f"cannot decode image {path}: {error}") from error


def rgb(encoded: bytes, *, upright: bool = False) -> Image.Image:
    """An encoded image in red, green and blue, transparent parts on white.

    ``upright`` turns it as its orientation tag says; a mask beside it would have to be turned too.
    Raises OSError or ValueError where that is impossible.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would clip 16 bits to 8
                raise ValueError(f"mode {image.mode} has more than 8 bits a channel")
            return _opaque(ImageOps.exif_transpose(image) if upright else image)
    except UnidentifiedImageError:  # whose words are an address in memory
        known = ", ".join(FORMATS)
        raise ValueError(f"{len(encoded)} bytes that are no image ({known})") from None
    except (SyntaxError, Image.DecompressionBombError) as error:  # what Pillow says of broken PNGs
        raise ValueError(str(error)) from error


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colours).convert("RGB")


def content(path: Root) -> bytes:
    """The bytes of a regular file or a member of an archive, of at most ``MAX_BYTES``."""
    if isinstance(path, zipfile.Path):
        size = path.root.getinfo(path.at).file_size
    else:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no regular file")
        size = about.st_size
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes are too many for a file of a data set")
    return path.read_bytes()
