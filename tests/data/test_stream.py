"""Streams: one order whoever reads, resumable anywhere, every example once."""

import dataclasses
import itertools
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ntk_prune import data
from ntk_prune.data.stream import Source, Stream


def load(i):
    """Example ``i`` is grey level ``i``, and its label."""
    return Image.new("RGB", (3, 2), (i, i, i)), i


def augment(rng, image, label):
    """The level in red, random numbers elsewhere."""
    pixels = rng.integers(0, 256, (2, 3, 3), np.uint8)
    pixels[..., 0] = np.asarray(image)[..., 0]
    return Image.fromarray(pixels), label


def resize(image, label):
    return image, label


def stream(n=12, num_test=7, **changes):
    made = Stream(
        name="levels",
        num_classes=50,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        classes=tuple(map(str, range(50))),
        image_shape=(2, 3, 3),
        train=Source(load, range(n)),
        test=Source(load, range(20, 20 + num_test)),
        augment=augment,
        resize=resize,
    )
    return dataclasses.replace(made, **changes)


def take(batches, count):
    return list(itertools.islice(batches, count))


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


def labels(batches):
    return np.concatenate([y for _, y in batches])


def test_shapes_types_and_that_images_keep_their_labels():
    (x, y), *_ = take(stream().train_batches(0, 5), 1)
    assert (x.dtype, x.shape, y.dtype, y.shape) == (np.uint8, (5, 2, 3, 3), np.int32, (5,))
    np.testing.assert_array_equal(x[:, 0, 0, 0], y)


@pytest.mark.parametrize("start", [1, 2, 3, 7, 12])
def test_resumed_at_any_step(start):
    whole = take(stream().train_batches(3, 4), 14)  # 3 steps an epoch
    assert_equal(take(stream().train_batches(3, 4, start), 14 - start), whole[start:])


def test_far_away_steps_cost_nothing():
    (x, y), *_ = take(stream().train_batches(3, 4, 10**9), 1)
    assert len(x) == len(y) == 4


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_make_the_same_batches(num_workers):
    alone, shared = stream(), stream(num_workers=num_workers)
    made = shared.train_batches(3, 5, 1)
    assert_equal(take(made, 6), take(alone.train_batches(3, 5, 1), 6))
    made.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("batch_size", [3, 9])  # 9: one batch for two workers
def test_workers_read_every_test_example(batch_size):
    made = stream(num_workers=2).test_batches(batch_size)
    assert_equal(list(made), list(stream().test_batches(batch_size)))
    assert not multiprocessing.active_children()


def test_workers_wait_for_the_next_evaluation(monkeypatch):
    read, started = Stream._read, []
    monkeypatch.setattr(Stream, "_read", lambda *args: started.append(1) or read(*args))
    made = stream(num_workers=1)
    first, again = list(made.test_batches(3)), list(made.test_batches(3))
    assert len(started) == 1
    assert_equal(again, first)
    next(made.test_batches(3))  # the rest is not taken: nobody else may get it
    assert_equal(list(made.test_batches(3)), first)
    assert len(started) == 2


def test_every_epoch_is_another_permutation():
    epochs = labels(take(stream().train_batches(0, 4), 15)).reshape(5, 12)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(12), (5, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_the_incomplete_last_batch_is_dropped():
    epochs = labels(take(stream(n=11).train_batches(0, 4), 6)).reshape(3, 8)
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    left = {frozenset(range(11)) - set(epoch) for epoch in epochs}
    assert len(left) > 1  # not always the same ones


def test_all_places_are_equally_likely():
    first = labels(take(stream().train_batches(1, 12), 3000)).reshape(-1, 12)
    for place in (0, 5, 11):
        counts = np.bincount(first[:, place], minlength=12)
        chi2 = ((counts - 250) ** 2 / 250).sum()
        assert chi2 < 11 + 5 * np.sqrt(22)


def test_order_does_not_depend_on_the_batch_size():
    by_two, by_six = (labels(take(stream().train_batches(0, b), 24 // b)) for b in (2, 6))
    np.testing.assert_array_equal(by_two, by_six)


def test_seeds_differ_and_do_not_follow_each_other():
    epochs = [labels(take(stream().train_batches(s, 4), 9)).reshape(3, 12) for s in range(4)]
    assert len({tuple(epoch) for epoch in np.concatenate(epochs)}) == 12


def test_augmentation_is_drawn_anew_for_every_example_and_epoch():
    x = np.concatenate([x for x, _ in take(stream().train_batches(0, 4), 30)])
    random = x[..., 1:].reshape(len(x), -1)
    assert len(np.unique(random, axis=0)) == 120
    assert abs(random.mean() - 127.5) < 5 * 74 / np.sqrt(random.size)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10])
def test_every_test_example_once(batch_size):
    x, y, weight = (np.concatenate(a) for a in zip(*stream().test_batches(batch_size), strict=True))
    assert len(y) % batch_size == 0
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(y[weight == 1], np.arange(20, 27))
    np.testing.assert_array_equal(x[:, 0, 0, 0], y)
    assert weight.sum() == 7


def test_examples_are_not_augmented():
    x, y = stream().examples(np.array([7, 0, 7]))
    assert (x.dtype, y.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(y, [7, 0, 7])
    np.testing.assert_array_equal(x, np.broadcast_to(y[:, None, None, None], x.shape))


def broken(i):
    if i == 4:
        raise ValueError("cannot decode image number 4")
    return load(i)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_in_an_example_is_passed_on(num_workers):
    batches = stream(train=Source(broken, range(12)), num_workers=num_workers).train_batches(0, 4)
    with pytest.raises(ValueError, match="cannot decode image number 4") as raised:
        take(batches, 3)
    assert str(raised.value) == "cannot decode image number 4"


LEFT_OPEN = """
from ntk_prune import data
if __name__ == "__main__":
    stream = data.open_stream("digits_segmentation", num_workers=1)
    batches = stream.train_batches(0, 16)
    next(batches)
    assert len(list(stream.test_batches(100))) == 4
"""


def test_a_reader_left_open_leaks_nothing_at_exit(tmp_path):
    script = tmp_path / "left_open.py"
    script.write_text(LEFT_OPEN)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stderr == ""  # grain and multiprocessing complain of what is left


KILLED = """
import multiprocessing, os, signal
from ntk_prune import data
if __name__ == "__main__":
    batches = data.open_stream("digits_segmentation", num_workers=2).train_batches(0, 16)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_process_that_was_killed(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    with open(tmp_path / "pids", "w") as file:  # a pipe would stay open as long as they live
        subprocess.run([sys.executable, script], stdout=file, stderr=subprocess.DEVNULL)
    workers = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 30
    while any(runs(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their killed parent"
        time.sleep(0.1)


def runs(pid):
    """Whether there is such a process, zombies aside."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("batch_size", [0, 13])
def test_batches_that_cannot_be_filled(batch_size):
    with pytest.raises(ValueError, match=f"levels: cannot fill a batch of {batch_size} with 12"):
        stream().train_batches(0, batch_size)


def test_negative_seed():
    with pytest.raises(ValueError, match="seed must not be negative, got -1"):
        stream().train_batches(-1, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("a",)}, "1 class names for 50 classes"),
        ({"mean": (0.5,)}, "1 means and 3 standard deviations for 3 channels"),
        ({"num_workers": -1}, "num_workers must be 0 or more, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        stream(**changes)


def test_unknown_stream():
    with pytest.raises(ValueError, match="unknown stream 'imagnet'; choose one of imagenet, imag"):
        data.open_stream("imagnet")


def test_without_grain_a_stream_does_not_open(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'ntk_prune\[tfds\]'"):
        data.open_stream("digits_segmentation")
