"""ImageNet from an image folder and from TensorFlow Datasets' own preparation, at small size."""

import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from ntk_prune import data
from ntk_prune.data import transforms

WNIDS = ("n01440764", "n01443537", "n15075141")
SIZES = ((50, 37), (30, 64), (90, 90), (41, 40))
RNG = np.random.default_rng(0)


def picture(path, i):
    """A picture as they occur: of any size, sometimes grey, CMYK, or a PNG under another name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = SIZES[i % len(SIZES)]
    coarse = RNG.integers(0, 256, (5, 5, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    mode = {1: "L", 2: "CMYK"}.get(i, "RGB")
    image.convert(mode).save(path, "PNG" if i == 3 else "JPEG")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("ilsvrc")
    number = itertools.count(1)
    for wnid in WNIDS:
        for i in range(4):
            picture(root / "train" / wnid / f"{wnid}_{10026 + i}.JPEG", i)
        for i in range(2):
            picture(root / "val" / wnid / f"ILSVRC2012_val_{next(number):08}.JPEG", i)
    return root


def load(data_dir, name="imagenet_folder", **options):
    return data.open_stream(name, data_dir=data_dir, **options)


def files(root, split):
    return sorted((root / split).glob("*/*.JPEG"))


def expected(path, size):
    return np.asarray(transforms.imagenet_test(Image.open(path).convert("RGB"), size))


def test_what_is_loaded(root):
    stream = load(root)
    assert (stream.num_train, stream.num_test) == (12, 6)
    assert stream.classes == WNIDS
    assert stream.y_train.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert stream.image_shape == (224, 224, 3)
    assert stream.mean == (0.485, 0.456, 0.406)
    assert stream.std == (0.229, 0.224, 0.225)


def test_test_images_are_resized_and_cropped(root):
    x, y, weight = next(load(root, image_size=32).test_batches(6))
    np.testing.assert_array_equal(x, [expected(path, 32) for path in files(root, "val")])
    assert y.tolist() == [0, 0, 1, 1, 2, 2]
    assert weight.tolist() == [1] * 6
    x, y = load(root, image_size=32).examples(np.arange(12))
    np.testing.assert_array_equal(x, [expected(path, 32) for path in files(root, "train")])
    np.testing.assert_array_equal(y, load(root).y_train)


def test_augmentations(root):
    batches = {
        name: next(load(root, image_size=32, augment=name).train_batches(0, 12))
        for name in ("none", "standard", "moco")
    }
    first = batches["none"][1]
    assert all((y == first).all() for _, y in batches.values())  # one order
    x = load(root, image_size=32).examples(np.argsort(load(root).y_train, kind="stable"))[0]
    assert sorted(i.tobytes() for i in x) == sorted(i.tobytes() for i in batches["none"][0])
    changed = [(batches[name][0] != batches["none"][0]).any((1, 2, 3)) for name in batches]
    assert not changed[0].any()
    assert changed[1].all()
    assert changed[2].all()
    with pytest.raises(ValueError, match="unknown augment 'crop'; choose one of none, standard"):
        load(root, augment="crop")


def test_workers_read_the_same_files(root):
    alone, shared = (load(root, image_size=16, augment="moco", num_workers=n) for n in (0, 1))
    batches = (itertools.islice(s.train_batches(5, 4, 2), 4) for s in (alone, shared))
    for (x, y), (z, u) in zip(*batches, strict=True):
        np.testing.assert_array_equal(x, z)
        np.testing.assert_array_equal(y, u)


@pytest.fixture
def broken(tmp_path):
    for split in ("train", "val"):
        for wnid in WNIDS[:2]:
            picture(tmp_path / split / wnid / f"{wnid}_0.JPEG", 0)
    return tmp_path


def test_a_corrupt_file_is_named(broken):
    path = broken / "train" / WNIDS[1] / f"{WNIDS[1]}_0.JPEG"
    path.write_bytes(path.read_bytes()[:200])
    stream = load(broken)
    with pytest.raises(ValueError, match=f"cannot decode image .*{WNIDS[1]}_0.JPEG") as raised:
        next(stream.train_batches(0, 2))
    assert "\n" not in str(raised.value)


def test_layout_is_said_in_one_line(broken, tmp_path):
    with pytest.raises(ValueError, match=r"imagenet_folder needs data_dir: expected train/<class>"):
        load(None)
    with pytest.raises(
        FileNotFoundError, match=r"no image folder .*/x: expected .* and val/<class>"
    ):
        load(tmp_path / "x")
    (broken / "val").rename(broken / "validation")
    with pytest.raises(FileNotFoundError, match="has no folder val/: expected train/<class>"):
        load(broken)


PREPARE = """
import sys
from ntk_prune.data import prepare
sys.exit(prepare.main(["imagenet2012", "--data_dir", sys.argv[1], "--manual_dir", sys.argv[2]]))
"""


def run(script, *args):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", script, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def pack(root, manual_dir):
    """The two original archives: of archives by class, and of files in any order."""
    manual_dir.mkdir()
    with tarfile.open(manual_dir / "ILSVRC2012_img_train.tar", "w") as outer:
        for wnid in reversed(WNIDS):
            path = manual_dir / f"{wnid}.tar"
            with tarfile.open(path, "w") as inner:
                for file in sorted((root / "train" / wnid).iterdir()):
                    inner.add(file, file.name)
            outer.add(path, path.name)
            path.unlink()
    with tarfile.open(manual_dir / "ILSVRC2012_img_val.tar", "w") as archive:
        for file in reversed(files(root, "val")):
            archive.add(file, file.name)


@pytest.fixture(scope="module")
def prepared(root, tmp_path_factory):
    if not all(map(importlib.util.find_spec, ("tensorflow", "tensorflow_datasets"))):
        pytest.skip("preparing needs TensorFlow")
    folder = tmp_path_factory.mktemp("tfds")
    pack(root, folder / "manual")
    run(PREPARE, folder / "data", folder / "manual")
    return folder / "data"


def by_content(x, y):
    return sorted((image.tobytes(), int(label)) for image, label in zip(x, y, strict=True))


def test_tfds_holds_the_same_images(root, prepared):
    stream = load(prepared, "imagenet", image_size=32)
    assert (stream.num_train, stream.num_test, stream.num_classes) == (12, 6, 1000)
    assert stream.y_train is None
    x, y = stream.examples(np.arange(12))
    numbers = [stream.classes.index(wnid) for wnid in WNIDS]
    folder = load(root, image_size=32)
    z, u = folder.examples(np.arange(12))
    assert by_content(x, y) == by_content(z, np.array(numbers)[u])
    x, _, _ = next(stream.test_batches(6))
    z, _, _ = next(folder.test_batches(6))
    assert sorted(i.tobytes() for i in x) == sorted(i.tobytes() for i in z)


def test_tfds_is_read_by_workers(prepared):
    alone, shared = (
        load(prepared, "imagenet", image_size=16, augment="standard", num_workers=n) for n in (0, 1)
    )
    batches = (itertools.islice(s.train_batches(5, 4, 2), 4) for s in (alone, shared))
    for (x, y), (z, u) in zip(*batches, strict=True):
        np.testing.assert_array_equal(x, z)
        np.testing.assert_array_equal(y, u)


WITHOUT_TENSORFLOW = """
import sys
from ntk_prune import data
stream = data.open_stream("imagenet", data_dir=sys.argv[1], image_size=16)
next(stream.train_batches(0, 4)), list(stream.test_batches(4))
assert "tensorflow_datasets" in sys.modules
assert "tensorflow" not in sys.modules
"""


def test_tfds_is_read_without_tensorflow(prepared):
    run(WITHOUT_TENSORFLOW, prepared)


def test_tfds_prepared_without_validation(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "tfds")
    path = next(folder.glob("imagenet2012/*/dataset_info.json"))
    info = json.loads(path.read_text())
    info["splits"] = [s for s in info["splits"] if s["name"] == "train"]
    path.write_text(json.dumps(info))
    with pytest.raises(ValueError, match="was prepared without validation"):
        load(folder, "imagenet")


def test_not_prepared_names_the_command_and_the_archives(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        load(tmp_path, "imagenet")
    message = str(raised.value)
    assert f"python -m ntk_prune.data.prepare imagenet2012 --data_dir {tmp_path}" in message
    assert "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar" in message
    assert "\n" not in message
