"""Files with random damage: a result, or an error of the reader's own in one line.

Every reader gets the bytes of a whole file with bytes changed, put in, left out, or cut off.
"""

import json
import random
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from experiments.config import to_dict
from experiments.errors import UserError
from experiments.protocols.train import Train
from experiments.runs import reading
from experiments.store import Store
from ntk_prune import checkpoint, data
from ntk_prune.data import cache, images
from ntk_prune.interop import pretrained

ARRAYS = {"a": np.arange(60, dtype=np.float32).reshape(3, 20), "b": np.arange(7)}
MASK = {"fc": {"kernel": np.arange(77).reshape(7, 11) % 3 == 0, "bias": np.ones(11, bool)}}
PNG = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
CONFIG = Train()
RECORD = {"step": 3, "epoch": 1.0, "name": "test/loss", "value": 0.5}


def damaged(content: bytes, seed: int) -> bytes:
    """``content`` after one to eight random edits."""
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 2, 8))):
        where, size = rng.randrange(len(content) + 1), rng.choice((1, 1, 2, 16, 200))
        before, after = content[:where], content[where:]
        content = rng.choice((
            before + rng.randbytes(size) + after[size:],
            before + bytes(size) + after[size:],
            before + b"\xff" * size + after[size:],
            before + after[size:],
            before + rng.randbytes(size) + after,
            before + before[-size:] + after,
            before or content,
        ))  # fmt: skip
    return content


def safetensors(folder: Path) -> Path:
    (folder / "w.safetensors").write_bytes(save(ARRAYS))
    return folder / "w.safetensors"


def pytorch(folder: Path, legacy: bool = False) -> Path:
    torch = pytest.importorskip("torch")
    tensors = {name: torch.nn.Parameter(torch.ones(2, 3)) for name in ("a", "b")}
    content = {"state_dict": tensors, "epoch": 3}
    torch.save(content, folder / "w.pth", _use_new_zipfile_serialization=not legacy)
    return folder / "w.pth"


def old_pytorch(folder: Path) -> Path:
    return pytorch(folder, legacy=True)


def mask(folder: Path) -> Path:
    checkpoint.save_tree(folder / "mask.safetensors", MASK)
    return folder / "mask.safetensors"


def cached_arrays(folder: Path) -> Path:
    load_cached(folder)
    return cache.cache_path(folder, 8)


def load_cached(path: Path) -> None:
    """The arrays that were cached: damaged means built again."""
    folder = path if path.is_dir() else path.parent
    arrays = cache.cached(lambda: dict(ARRAYS), folder, [("x.jpg", 0, 0)], 8, None)
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)


def image(file_format: str):
    def write(folder: Path) -> Path:
        path = folder / f"x.{file_format.lower()}"
        Image.fromarray(PNG).save(path, file_format)
        return path

    write.__name__ = file_format
    return write


def tiny_imagenet(folder: Path) -> Path:
    root = folder / "tiny-imagenet-200"
    for path in (root / "train/n1/images", root / "train/n2/images", root / "val/images"):
        path.mkdir(parents=True)
        Image.fromarray(PNG).save(path / "0.JPEG")
    (root / "wnids.txt").write_text("n1\nn2\n")
    (root / "words.txt").write_text("n1\tfish\nn2\tcat\n")
    (root / "val/val_annotations.txt").write_text("0.JPEG\tn1\t0\t0\t1\t1\n")
    shutil.make_archive(str(root), "zip", folder, root.name)
    shutil.rmtree(root)
    return folder / "tiny-imagenet-200.zip"


def run_file(name: str, text: str):
    def write(folder: Path) -> Path:
        log = f"{json.dumps(RECORD)}\n" * 5
        sizes = {"metrics.jsonl": len(log)}
        for file, value in (("config.json", to_dict(CONFIG)), ("files.json", sizes), ("DONE", {})):
            (folder / file).write_text(json.dumps(value))
        (folder / "metrics.jsonl").write_text(log)
        (folder / name).write_text(text)
        return folder / name

    write.__name__ = name
    return write


def read_run(file: Path) -> None:
    """As a run that goes on, and as the report reads it."""
    store, errors = Store(file.parent, CONFIG), []
    for use in (
        lambda: store.done, store.records, lambda: store.logged("test/loss"),
        lambda: reading.read(file.parent).metrics,
        lambda: reading.read(file.parent).pruning, lambda: reading.read(file.parent).env,
    ):  # fmt: skip
        try:
            use()
        except UserError as error:
            check_line(error, file.parent)
            errors.append(error)
    if errors:
        raise errors[0]


READERS = [
    (safetensors, pretrained.read),
    (pytorch, pretrained.read),
    (old_pytorch, pretrained.read),
    (mask, checkpoint.load_tree),
    (cached_arrays, load_cached),
    *((image(name), images.read_rgb) for name in images.FORMATS),
    (tiny_imagenet, lambda file: data.load("tiny_imagenet", data_dir=file, image_size=8)),
    *((run_file(name, text), read_run) for name, text in {
        "config.json": json.dumps(to_dict(CONFIG), indent=1),
        "DONE": json.dumps({"step": 4, "test/accuracy": [0.5]}),
        "files.json": json.dumps({"metrics.jsonl": 5 * (len(json.dumps(RECORD)) + 1)}),
        "env.json": json.dumps({"backend": "cpu", "devices": ["cpu"]}),
        "metrics.jsonl": f"{json.dumps(RECORD)}\n" * 5,
        "pruning.json": json.dumps({"kept": 1, "total": 2, "collapsed": [], "layers": [
            {"name": "fc", "shape": [1, 2], "kept": 1, "total": 2}]}),
    }.items()),
]  # fmt: skip


def check_line(error: Exception, path: Path) -> None:
    assert "\n" not in str(error), error
    assert path.stem in str(error) or str(path.parent) in str(error), error


def count_damaged(write, read, folder, seeds) -> dict[str, int]:
    """How often damage was read over and how often it was refused. Anything else fails."""
    path = write(folder)
    whole, counts = path.read_bytes(), {"read": 0, "refused": 0}
    others = set(folder.rglob("*"))
    for seed in seeds:
        path.write_bytes(damaged(whole, seed))
        try:
            read(path)
            counts["read"] += 1
        except (ValueError, FileNotFoundError, UserError) as error:
            check_line(error, path)
            counts["refused"] += 1
        except BaseException as error:
            pytest.fail(f"damage {seed} escaped: {error!r}")
        for made in set(folder.rglob("*")) - others:
            made.unlink()
    return counts


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("write", "read"), READERS, ids=lambda f: f.__name__)
def test_damage_is_read_or_refused(write, read, tmp_path):
    count_damaged(write, read, tmp_path, range(50))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("write", "read"), READERS, ids=lambda f: f.__name__)
def test_two_thousand_damages_are_read_or_refused(write, read, tmp_path, capsys):
    counts = count_damaged(write, read, tmp_path, range(50, 2050))
    with capsys.disabled(), warnings.catch_warnings():
        print(f"{write.__name__}: {counts['refused']} refused, {counts['read']} read, 0 escaped")
