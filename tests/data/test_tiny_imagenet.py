"""Tiny-ImageNet in exactly the layout in which it is distributed, unpacked and in its .zip file."""

import os
import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from ntk_prune import data

WNIDS = ("n02124075", "n01443537", "n07749582")  # not sorted, as in the real file
WORDS = "n00001740\tentity\nn01443537\tgoldfish, Carassius auratus\nn02124075\tEgyptian cat\n"
WORDS += "n07749582\tlemon\n"
VALIDATION = ("n07749582", "n02124075", "n01443537", "n02124075")


def picture(path, level, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), (level, level, level)).convert(mode).save(path, "JPEG", quality=95)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("original") / "tiny-imagenet-200"
    for c, wnid in enumerate(WNIDS):
        for i in range(12):
            grey = i == 3
            path = root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG"
            picture(path, 20 * i + c, "L" if grey else "RGB")
        boxes = "".join(f"{wnid}_{i}.JPEG\t0\t0\t63\t63\n" for i in range(12))
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
    for i in range(len(VALIDATION)):
        picture(root / "val" / "images" / f"val_{i}.JPEG", 50 * i)
        picture(root / "test" / "images" / f"test_{i}.JPEG", 9)
    rows = [f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62\n" for i, wnid in enumerate(VALIDATION)]
    (root / "val" / "val_annotations.txt").write_text("".join(rows))
    (root / "wnids.txt").write_text("\n".join(WNIDS))
    (root / "words.txt").write_text(WORDS)
    return root


@pytest.fixture
def root(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data" / original.name)


def pack(root):
    """The .zip file beside ``root``, with entries for folders as in the original."""
    file = root.with_suffix(".zip")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in [root, *root.rglob("*")]:
            packed.write(path, path.relative_to(root.parent))
    return file


def load(data_dir, **options):
    return data.load("tiny_imagenet", data_dir=data_dir, **options)


def test_what_is_loaded(root):
    loaded = load(root)
    assert loaded.classes == ("goldfish, Carassius auratus", "Egyptian cat", "lemon")
    assert loaded.y_train.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    levels = loaded.x_train[:, 32, 32, 0]
    expected = [20 * i + c for c in (1, 0, 2) for i in range(12)]  # 2 before 10
    assert np.abs(levels.astype(int) - expected).max() <= 1
    assert loaded.y_test.tolist() == [2, 1, 0, 1]
    assert np.abs(loaded.x_test[:, 0, 0, 0].astype(int) - [0, 50, 100, 150]).max() <= 1
    assert loaded.image_shape == (64, 64, 3)
    assert (loaded.mean, loaded.std) == ((0.480, 0.448, 0.397), (0.276, 0.269, 0.282))


def test_folder_parent_zip_and_its_folder_are_the_same_data(root, tmp_path):
    expected = load(root)
    file = pack(root)
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(file, alone)
    for data_dir in (root.parent, file, alone, str(alone / file.name)):
        loaded = load(data_dir, cache_dir=tmp_path / "cache")
        for name in ("x_train", "y_train", "x_test", "y_test", "classes"):
            np.testing.assert_array_equal(getattr(loaded, name), getattr(expected, name))
    assert sorted(p.name for p in alone.iterdir()) == [file.name]


def test_options(root):
    loaded = load(root, image_size=16, channels=1)
    assert loaded.x_test.shape == (4, 16, 16, 1)
    assert len(loaded.mean) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_decoded_once_until_a_file_changes(root, monkeypatch, packed):
    source = pack(root) if packed else root
    if packed:
        shutil.rmtree(root)
    expected = load(source)
    monkeypatch.setattr(data.tiny_imagenet, "decode", None)
    np.testing.assert_array_equal(load(source).x_train, expected.x_train)
    os.utime(source if packed else root / "val" / "images" / "val_2.JPEG")
    with pytest.raises(TypeError):
        load(source)


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (
            shutil.rmtree,
            FileNotFoundError,
            "no Tiny-ImageNet in .*: expected tiny-imagenet-200.zip",
        ),
        (lambda r: (r / "words.txt").unlink(), FileNotFoundError, "has no words.txt: expected"),
        (lambda r: (r / "wnids.txt").unlink(), FileNotFoundError, "no Tiny-ImageNet in"),
        (
            lambda r: shutil.rmtree(r / "train" / "n02124075"),
            ValueError,
            "wnids.txt and train/ have different classes: n02124075",
        ),
        (
            lambda r: (r / "val" / "images" / "val_3.JPEG").unlink(),
            ValueError,
            "val_annotations.txt and val/images/ differ: val/images/val_3.JPEG",
        ),
        (
            lambda r: edit(r / "val" / "val_annotations.txt", "val_0.JPEG", "val_9.JPEG"),
            ValueError,
            "differ: val/images/val_0.JPEG, val/images/val_9.JPEG",
        ),
        (
            lambda r: edit(r / "val" / "val_annotations.txt", "n07749582", "n99999999"),
            ValueError,
            "val_annotations.txt has classes not in wnids.txt: n99999999",
        ),
        (
            lambda r: (r / "train/n01443537/images/n01443537_5.JPEG").write_bytes(b"x"),
            ValueError,
            "cannot decode image .*n01443537_5.JPEG",
        ),
        (
            lambda r: Image.new("RGB", (32, 64)).save(r / "val/images/val_1.JPEG"),
            ValueError,
            "images differ in size: .*val_1.JPEG is 32x64",
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_wrong_is_said_in_one_line(root, break_it, error, message, packed):
    break_it(root)
    source = root
    if packed:
        root.mkdir(exist_ok=True)
        source = pack(root)
    with pytest.raises(error, match=message) as raised:
        load(source)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", [0, 200])
def test_interrupted_download(root, size):
    file = pack(root)
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=f"{re.escape(str(file))} is damaged or no .zip file"):
        load(file)


def test_damage_within_the_zip_names_the_file(root):
    file = pack(root)
    with zipfile.ZipFile(file) as packed:
        info = packed.getinfo("tiny-imagenet-200/val/images/val_1.JPEG")
    content = bytearray(file.read_bytes())
    start = info.header_offset + 30 + len(info.filename)
    content[start + 100 : start + info.compress_size] = b"\xff" * (info.compress_size - 100)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot decode image .*val_1\.JPEG"):
        load(file)


def test_needs_data_dir():
    with pytest.raises(ValueError, match="tiny_imagenet needs data_dir: expected tiny-imagenet"):
        data.load("tiny_imagenet")


def test_texts_that_cannot_be_read_are_named(root):
    (root / "words.txt").write_bytes(b"n01443537\t\xff\xfe")
    with pytest.raises(ValueError, match=r"cannot read .*words\.txt: 'utf-8' codec"):
        load(root)


@pytest.mark.parametrize(("at", "value"), [(8, 1), (10, 99)])
def test_encrypted_and_foreign_members_are_named(at, value, root):
    file = pack(root)
    content = bytearray(file.read_bytes())
    for record, offset in ((b"PK\x01\x02", at), (b"PK\x03\x04", at - 2)):
        place = content.index(b"wnids.txt")
        if record == b"PK\x01\x02":
            place = content.rindex(b"wnids.txt")
        content[content.rindex(record, 0, place) + offset] = value
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*wnids\.txt: ") as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_a_damaged_cache_is_built_again(root, tmp_path):
    expected = load(root)
    (file,) = root.glob("ntk_prune-*.npz")
    whole = file.read_bytes()
    np.savez_compressed(file, key=np.array("x"), x_train=np.zeros(10**6))
    for content in (whole[: len(whole) // 2], b"", file.read_bytes(), whole[:-200] + b"0" * 200):
        file.write_bytes(content)
        np.testing.assert_array_equal(load(root).x_train, expected.x_train)
        assert file.read_bytes() == whole
