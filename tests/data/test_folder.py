"""Image folders: what is decoded, in which order, what is refused, and what the cache may serve."""

import contextlib
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ntk_prune import data
from ntk_prune.data import cache, folder

RNG = np.random.default_rng(0)


def picture(path, size=(4, 4), colour=None):
    """Write a picture of noise, or of one colour, and return it as an array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (size[1], size[0], 3), np.uint8)
    if colour is not None:
        pixels[:] = colour
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def root(tmp_path):
    for split in folder.SPLITS:
        for label, name in enumerate(["cat", "ant"]):
            for number in (10, 9, 2):
                picture(tmp_path / "set" / split / name / f"{number}.png", colour=number + label)
    return tmp_path / "set"


def load(root, **options):
    return data.load("folder", data_dir=root, **options)


def test_classes_sorted_files_in_natural_order(root):
    loaded = load(root)
    assert loaded.name == "set"
    assert loaded.classes == ("ant", "cat")
    assert loaded.y_train.tolist() == [0, 0, 0, 1, 1, 1]
    assert loaded.x_train[:, 0, 0, 0].tolist() == [3, 10, 11, 2, 9, 10]


def test_order_does_not_come_from_the_file_system(root, monkeypatch):
    expected = load(root)
    scandir = os.scandir

    class Sorted(contextlib.nullcontext):
        def __init__(self, path, reverse):
            self.entries = iter(sorted(scandir(path), key=lambda e: e.name, reverse=reverse))

        def __iter__(self):
            return self.entries

        def __next__(self):
            return next(self.entries)

        def __enter__(self):
            return self

    for reverse in (False, True):
        monkeypatch.setattr(os, "scandir", lambda p, r=reverse: Sorted(p, r))
        loaded = load(root, cache_dir=root.parent / f"cache{reverse}")
        assert loaded.classes == expected.classes
        np.testing.assert_array_equal(loaded.x_train, expected.x_train)


def test_png_exact_jpeg_close_grey_and_palette_become_rgb(root):
    exact = picture(root / "train" / "ant" / "0.png")
    smooth = np.add.outer(np.arange(4), np.arange(4)).astype(np.uint8) * 20
    Image.fromarray(smooth).save(root / "train" / "ant" / "1.JPEG", quality=100)
    Image.fromarray(exact).quantize(4).save(root / "train" / "ant" / "3.png")
    x = load(root).x_train
    np.testing.assert_array_equal(x[0], exact)
    assert np.abs(x[1].astype(int) - smooth[..., None]).max() <= 2
    assert x.shape == (9, 4, 4, 3)


def test_other_files_and_hidden_folders_are_passed_over(root):
    (root / "train" / "ant" / "Thumbs.db").write_text("x")
    (root / "train" / "ant" / ".hidden.png").write_text("x")
    (root / "train" / ".git").mkdir()
    (root / "train" / "cat" / ".cache").mkdir()
    picture(root / "train" / "cat" / ".cache" / "3.png")
    with pytest.warns(UserWarning, match=r"1 files in .*ant are no images .*: Thumbs.db$"):
        assert len(load(root).x_train) == 6


def test_images_in_folders_below_a_class_and_of_other_formats_are_taken(root):
    below = root / "train" / "cat" / "session_2"
    below.mkdir()
    for name in ("a.bmp", "b.webp", "c.tif", "d.TIFF"):
        picture(below / name, colour=77)
    loaded = load(root)
    assert loaded.y_train.tolist() == [0] * 3 + [1] * 7
    assert (loaded.x_train[-4:] == 77).all()


def test_more_files_than_one_block_keep_their_order(tmp_path):
    for split in folder.SPLITS:
        for i in range(300):
            picture(tmp_path / split / "one" / f"{i}.png", size=(1, 1), colour=i % 256)
    x = load(tmp_path).x_train
    assert x[:, 0, 0, 0].tolist() == [i % 256 for i in range(300)]


def test_mixed_sizes_need_image_size(root):
    picture(root / "test" / "cat" / "1.png", size=(6, 5))
    message = r"images differ in size: .*1.png is 6x5, .*ant/2.png is 4x4; set image_size"
    with pytest.raises(ValueError, match=message):
        load(root)
    assert load(root, image_size=3, channels=1).x_test.shape == (7, 3, 3, 1)


def remove(path):
    shutil.rmtree(path)


def empty(path):
    remove(path)
    path.mkdir()


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda r: remove(r), FileNotFoundError, "no image folder .*/set: expected train/"),
        (lambda r: remove(r / "train"), FileNotFoundError, "/set has no folder train/"),
        (lambda r: remove(r / "test"), FileNotFoundError, "/set has no folder test/"),
        (lambda r: remove(r / "test" / "cat"), ValueError, "different classes: cat"),
        (lambda r: empty(r / "test" / "cat"), ValueError, "no images .*in .*/test/cat"),
        (lambda r: (empty(r / "test"), empty(r / "train")), ValueError, "no images in .*/set"),
        (
            lambda r: (r / "train" / "ant" / "5.png").write_bytes(b"no image"),
            ValueError,
            "cannot decode image .*/train/ant/5.png: 8 bytes that are no image",
        ),
        (
            lambda r: Image.fromarray(np.zeros((4, 4), np.uint16)).save(r / "test/ant/5.png"),
            ValueError,
            "cannot decode image .*/test/ant/5.png: mode I;16 has more than 8 bits",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(root, break_it, error, message):
    break_it(root)
    with pytest.raises(error, match=message) as raised:
        load(root)
    assert "\n" not in str(raised.value)


def test_truncated_file_is_named(root):
    path = root / "test" / "ant" / "9.jpg"
    picture(path, size=(64, 64))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load(root, image_size=4)


def test_folder_needs_data_dir():
    with pytest.raises(ValueError, match="needs data_dir: expected train/<class>"):
        data.load("folder")


@pytest.fixture
def decodings(monkeypatch):
    """A list that grows by one with every image decoded."""
    calls = []
    decode_one = folder.decode_one
    monkeypatch.setattr(folder, "decode_one", lambda *args: calls.append(args) or decode_one(*args))
    return calls


def test_decoded_once(root, decodings):
    first = load(root)
    assert decodings
    decodings.clear()
    second = load(root)
    assert not decodings
    for name in ("x_train", "y_train", "x_test", "y_test", "classes", "mean", "std"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    load(root, image_size=2)
    assert decodings


def rewrite(root):
    path = root / "train" / "ant" / "2.png"
    before = path.stat()
    picture(path, colour=200)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change",
    [
        rewrite,
        lambda r: picture(r / "train" / "ant" / "11.png"),
        lambda r: (r / "test" / "cat" / "2.png").unlink(),
        lambda r: (r / "test" / "cat" / "2.png").rename(r / "test" / "cat" / "3.png"),
        lambda r: [(r / s / "cat").rename(r / s / "dog") for s in folder.SPLITS],
    ],
)
def test_a_changed_folder_is_decoded_again(root, decodings, change):
    load(root)
    decodings.clear()
    change(root)
    fresh = load(root)
    assert decodings
    expected = load(root, cache_dir=root.parent / "other")
    np.testing.assert_array_equal(fresh.x_train, expected.x_train)
    assert fresh.classes == expected.classes


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"junk"])
def test_damaged_cache_is_replaced(root, content):
    expected = load(root)
    path = cache.cache_path(root, None)
    path.write_bytes(content)
    np.testing.assert_array_equal(load(root).x_train, expected.x_train)
    assert path.stat().st_size > len(content)


def test_nothing_but_the_cache_is_left_behind(root):
    load(root)
    assert sorted(p.name for p in root.iterdir()) == ["ntk_prune-native.npz", "test", "train"]
    with np.load(root / "ntk_prune-native.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored.files)


def test_read_only_data_is_cached_for_the_user(root, monkeypatch, decodings):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "home"))
    load(root)
    decodings.clear()
    load(root)
    assert not decodings
    assert len(list((root.parent / "home" / "ntk_prune").glob("*/*.npz"))) == 1
    assert sorted(p.name for p in root.iterdir()) == ["test", "train"]


def test_a_shared_cache_dir_keeps_folders_apart(root, tmp_path):
    other = tmp_path / "elsewhere" / root.parent.name / "set"
    shutil.copytree(root, other)
    picture(other / "train" / "ant" / "2.png", colour=99)
    ours = load(root, cache_dir=tmp_path / "c")
    theirs = load(other, cache_dir=tmp_path / "c")
    assert ours.x_train[0, 0, 0, 0] == 3
    assert theirs.x_train[0, 0, 0, 0] == 99
    assert len(list((tmp_path / "c").glob("*/*.npz"))) == 2


def test_cache_that_cannot_be_written_costs_a_warning(root, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="decoded images are not cached"):
        loaded = load(root, cache_dir=tmp_path / "file")
    assert len(loaded.x_train) == 6


def test_failed_write_leaves_no_temporary_file(root, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(UserWarning, match="disk full"):
        load(root)
    assert sorted(p.name for p in root.iterdir()) == ["test", "train"]
