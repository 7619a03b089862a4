"""Sets prepared by TensorFlow Datasets itself, at small size, are read without TensorFlow."""

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from ntk_prune import data
from ntk_prune.data import prepare, tfds

# Writes small original archives (made up, in the real binary layouts) and runs the real preparation
# on them; only the download is replaced.
PREPARE = r"""
import sys, pathlib
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification import mnist
from ntk_prune.data import prepare

root = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(0)

def cifar(folder, files, labels, names):
    folder.mkdir(parents=True)
    for file in files:
        records = rng.integers(0, 256, (10, labels + 3072), np.uint8)
        records[:, labels - 1] = np.arange(10)
        records[:, : labels - 1] = 7
        (folder / file).write_bytes(records.tobytes())
    for file, count in names.items():
        (folder / file).write_text("\n".join(f"{file[:4]}{i}" for i in range(count)) + "\n")

cifar(root / "cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)]
      + ["test_batch.bin"], 1, {"batches.meta.txt": 10})
cifar(root / "cifar-100-binary", ["train.bin", "test.bin"], 2,
      {"coarse_label_names.txt": 20, "fine_label_names.txt": 100})
mnist._TRAIN_EXAMPLES, mnist._TEST_EXAMPLES = 20, 10
for split, count in {"train": 20, "t10k": 10}.items():
    (root / f"{split}-images-idx3-ubyte").write_bytes(
        bytes(16) + rng.integers(0, 256, (count, 784), np.uint8).tobytes())
    (root / f"{split}-labels-idx1-ubyte").write_bytes(
        bytes(8) + (np.arange(count) % 10).astype(np.uint8).tobytes())

def extracted(self, urls):
    if isinstance(urls, dict):
        return {k: str(root / u.rsplit("/", 1)[1].removesuffix(".gz")) for k, u in urls.items()}
    return str(root)

tfds.download.DownloadManager.download_and_extract = extracted
prepare.check_reachable = lambda urls: None
for name in ("cifar10", "cifar100", "mnist"):
    if prepare.main([name, "--data_dir", str(root / "tfds")]):
        sys.exit(1)
"""

READ = r"""
import socket, sys
def refuse(*args):
    raise AssertionError("a socket was opened")
socket.socket.connect = refuse
from ntk_prune import data
assert "tensorflow_datasets" not in sys.modules
data.load("cifar10", data_dir=sys.argv[1], cache_dir=sys.argv[2])
assert "tensorflow_datasets" in sys.modules
assert "tensorflow" not in sys.modules
"""


def python(script, *args):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", script, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    pytest.importorskip("tensorflow_datasets")
    root = tmp_path_factory.mktemp("originals")
    assert "cifar10 is prepared in" in python(PREPARE, root)
    return root


@pytest.fixture
def data_dir(originals, tmp_path):
    return shutil.copytree(originals / "tfds", tmp_path / "tfds")


def cifar_records(folder, files, labels):
    """``(label, image bytes)`` of the original records."""
    raw = b"".join((folder / file).read_bytes() for file in files)
    records = np.frombuffer(raw, np.uint8).reshape(-1, labels + 3072)
    images = records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return sorted((int(r[labels - 1]), x.tobytes()) for r, x in zip(records, images, strict=True))


def pairs(x, y):
    return sorted((int(label), image.tobytes()) for image, label in zip(x, y, strict=True))


def test_cifar10_is_what_the_archive_holds(originals, data_dir):
    loaded = data.load("cifar10", data_dir=data_dir)
    folder = originals / "cifar-10-batches-bin"
    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    assert pairs(loaded.x_train, loaded.y_train) == cifar_records(folder, train, 1)
    assert pairs(loaded.x_test, loaded.y_test) == cifar_records(folder, ["test_batch.bin"], 1)
    assert loaded.classes == tuple(f"batc{i}" for i in range(10))
    assert (loaded.mean, loaded.std) == ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))


def test_cifar100_has_fine_labels(originals, data_dir):
    loaded = data.load("cifar100", data_dir=data_dir)
    folder = originals / "cifar-100-binary"
    assert pairs(loaded.x_train, loaded.y_train) == cifar_records(folder, ["train.bin"], 2)
    assert loaded.num_classes == 100
    assert loaded.classes[3] == "fine3"
    assert loaded.mean == (0.507, 0.487, 0.441)


def test_mnist_is_grey_and_computes_its_statistics(originals, data_dir):
    loaded = data.load("mnist", data_dir=data_dir)
    raw = (originals / "train-images-idx3-ubyte").read_bytes()[16:]
    images = np.frombuffer(raw, np.uint8).reshape(20, 28, 28, 1)
    assert pairs(loaded.x_train, loaded.y_train) == pairs(images, np.arange(20) % 10)
    assert loaded.mean == pytest.approx((images.mean() / 255,))
    resized = data.load("mnist", data_dir=data_dir, image_size=32, channels=3)
    assert resized.image_shape == (32, 32, 3)


def test_published_statistics_only_for_colour(data_dir):
    grey = data.load("cifar10", data_dir=data_dir, channels=1)
    assert grey.mean == pytest.approx((grey.x_train.mean() / 255,))


def test_reads_without_tensorflow_and_without_network(data_dir, tmp_path):
    python(READ, data_dir, tmp_path / "cache")


def test_read_once_then_from_the_cache(data_dir, monkeypatch):
    first = data.load("cifar10", data_dir=data_dir)
    monkeypatch.setattr(tfds, "read", None)
    second = data.load("cifar10", data_dir=data_dir)
    np.testing.assert_array_equal(first.x_train, second.x_train)
    os.utime(next(data_dir.glob("cifar10/*/*train*record*")))
    with pytest.raises(TypeError):
        data.load("cifar10", data_dir=data_dir)


def test_newest_version_and_no_half_preparation(data_dir):
    current = next((data_dir / "cifar10").iterdir())
    for name in ("3.0.10", "incomplete.AB_9.0.0", "2.9.9"):
        shutil.copytree(current, current.with_name(name))
    assert tfds.find("cifar10", data_dir).name == "3.0.10"


def test_not_prepared_names_the_folder_and_the_command(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        data.load("svhn_cropped", data_dir=tmp_path)
    message = str(raised.value)
    assert str(tmp_path / "svhn_cropped") in message
    assert f"python -m ntk_prune.data.prepare svhn_cropped --data_dir {tmp_path}" in message
    assert "train_32x32.mat" in message
    assert "\n" not in message


def test_default_folder_is_that_of_tensorflow_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "x"))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/x/mnist"):
        data.load("mnist")


def test_tfrecord_is_refused(data_dir):
    path = next(data_dir.glob("mnist/*/dataset_info.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(ValueError, match="prepared as tfrecord, not array_record: move it away"):
        data.load("mnist", data_dir=data_dir)


def test_prepare_without_the_archive(tmp_path, capsys):
    (tmp_path / "train-images-idx3-ubyte.gz").touch()
    arguments = ["mnist", "--data_dir", str(tmp_path), "--manual_dir", str(tmp_path)]
    assert prepare.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"cannot prepare mnist: {tmp_path} lacks train-labels-idx1-ubyte.gz" in error
    assert "train-images" not in error


def test_prepare_needs_tensorflow(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda _: None)
    assert prepare.main(["mnist", "--data_dir", str(tmp_path)]) == 2
    assert "pip install tensorflow-cpu" in capsys.readouterr().err


def test_a_host_that_does_not_answer_is_found_at_once(tmp_path, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    cifar = SimpleNamespace(is_prepared=lambda: False, url_infos=[f"http://127.0.0.1:{port}/a"])
    library = SimpleNamespace(builder=lambda *_, **__: cifar)
    monkeypatch.setattr(prepare, "datasets_library", lambda: library)
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda _: True)
    assert prepare.main(["cifar10", "--data_dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "127.0.0.1 cannot be reached: " in error
    assert "without a network pass --manual_dir with cifar-10-binary.tar.gz" in error


def test_a_host_that_refuses_to_say_anything_is_there():
    refusing = http.server.BaseHTTPRequestHandler  # answers 501 to every method
    with http.server.HTTPServer(("127.0.0.1", 0), refusing) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        prepare.check_reachable([f"http://127.0.0.1:{server.server_port}/a"])


def test_archive_names_are_those_of_the_builders(tmp_path):
    builders = pytest.importorskip("tensorflow_datasets")
    for name, files in tfds.ARCHIVES.items():
        if name == "imagenet2012":  # nobody may download it
            continue
        infos = builders.builder(name, data_dir=tmp_path).url_infos.values()
        assert {info.filename for info in infos} == set(files)
