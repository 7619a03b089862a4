"""Sets that do not fit in memory: decoded and augmented on the host while the device computes.

A batch depends on the seed and its number alone, whoever makes it: a training that was killed
goes on with the very batches it would have seen, with any number of workers.
"""

import atexit
import dataclasses
import functools
import gc
import importlib.util
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from ntk_prune.data.dataset import check_statistics

Example = tuple[Image.Image, Any]
"""An image, and its label or its mask (an image of the same size)."""
Rng = np.random.Generator
Augment = Callable[[Rng, Image.Image, Any], Example]
Resize = Callable[[Image.Image, Any], Example]


@dataclasses.dataclass(frozen=True, eq=False)
class Source(Sequence):
    """``load(item)`` of every item, when it is asked for. Both go to the workers by pickle."""

    load: Callable[[Any], Example]
    items: Sequence

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index):
        return self.load(self.items[index])


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Images ``uint8 [H, W, C]``, all of one ``image_shape`` once they are transformed.

    A label is a number, or a mask ``[H, W]`` in which 255 counts nowhere.

    Args:
      name, num_classes, mean, std, classes: as in ``Dataset``.
      image_shape: ``(H, W, C)``.
      train, test: the examples as they are stored.
      augment: the random transform of training, a pure function that can be pickled.
      resize: the transform of testing.
      num_workers: processes that read; 0 is threads of this one.
      y_train: labels ``int32 [N]`` where they are known without reading any example.

    Raises ValueError when these do not fit together.
    """

    name: str
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train: Sequence[Example]
    test: Sequence[Example]
    augment: Augment
    resize: Resize
    num_workers: int = 0
    y_train: np.ndarray | None = None
    _idle: dict[int, Iterator] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def __post_init__(self):
        if len(self.classes) != self.num_classes:
            raise ValueError(
                f"{self.name}: {len(self.classes)} class names for {self.num_classes} classes"
            )
        if self.num_workers < 0:
            raise ValueError(f"num_workers must be 0 or more, got {self.num_workers}")
        check_statistics(self.mean, self.std, self.image_shape[-1], self.name)

    @property
    def num_train(self) -> int:
        """The number of training images."""
        return len(self.train)

    @property
    def num_test(self) -> int:
        """The number of test images."""
        return len(self.test)

    def train_batches(
        self, seed: int, batch_size: int, start_step: int = 0
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Augmented ``x uint8 [B, H, W, C]``, ``y int32 [B, ...]`` from step ``start_step`` on.

        Endless: every epoch is another permutation, without its incomplete last batch. Raises
        ValueError where not even one batch can be filled, or for a negative ``seed``.
        """
        if batch_size < 1 or self.num_train < batch_size:
            raise ValueError(
                f"{self.name}: cannot fill a batch of {batch_size} with {self.num_train} examples"
            )
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        # Not grain's own shuffle: over the 1.3 million sorted images of ImageNet it mixes the
        # classes of a batch measurably less well than chance does.
        draw = functools.partial(_draw, self.train, self.augment, seed)
        examples = _grain().MapDataset.range(self.num_train).map_with_index(draw)
        batches = examples.batch(batch_size, drop_remainder=True).repeat()
        return self._read(batches[start_step:])

    def test_batches(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """``x``, ``y`` and ``weight float32 [B]``: every test image once, 0 for what fills up.

        Processes that have made all batches wait for the next call: they take seconds to start.
        """
        reader = self._idle.pop(batch_size, None)
        if reader is None:
            resized = functools.partial(_resized, self.resize)
            examples = _grain().MapDataset.source(self.test).map(resized)
            passes = None if self.num_workers else 1
            reader = self._read(examples.batch(batch_size).repeat(passes))
        for _ in range(-(-self.num_test // batch_size)):
            x, y = next(reader)
            weight = (np.arange(batch_size) < len(x)).astype(np.float32)
            rows = np.minimum(np.arange(batch_size), len(x) - 1)
            yield x[rows], y[rows], weight
        if self.num_workers:
            self._idle[batch_size] = reader

    def examples(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The training images and labels at ``index``, transformed as in testing."""
        with ThreadPoolExecutor() as pool:
            done = pool.map(lambda i: _resized(self.resize, self.train[int(i)]), index)
            x, y = map(np.stack, zip(*done, strict=True))
        return x, y.astype(np.int32)

    def _read(self, batches: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """All ``batches``, made ahead by workers or threads."""
        import absl.flags

        grain = _grain()
        # grain 0.2.18 asks for a flag of its own before workers start, parsed or not.
        absl.flags.FLAGS.mark_as_parsed()
        threads = 1 if self.num_workers else min(16, os.cpu_count() or 1)
        # A batch may take 100 MB, so nobody holds more than one that is done.
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
        dataset = batches.to_iter_dataset(options)
        if self.num_workers:
            workers = grain.MultiprocessingOptions(self.num_workers, per_worker_buffer_size=1)
            dataset = dataset.mp_prefetch(workers, _end_with_parent)
        reader = _batches(dataset)
        _READERS.add(reader)
        atexit.unregister(_close_readers)
        atexit.register(_close_readers)  # again, to come before the exit of multiprocessing
        return reader


def _end_with_parent(index: int, count: int) -> None:
    """A worker ends when its parent does, killed too; else it would wait for ever."""
    del index, count
    for number in (signal.SIGINT, signal.SIGTERM):  # often sent to the whole group; the parent acts
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _batches(dataset: Any) -> Generator[tuple[np.ndarray, np.ndarray]]:
    batches = iter(dataset)
    try:
        yield from map(_copied, batches)
    finally:
        batches.close()
        del batches
        gc.collect()  # grain's iterators hold their last batch in a cycle


def _copied(batch: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """What workers made lies in shared memory, which grain frees when nobody holds it."""
    return np.array(batch[0]), np.array(batch[1], np.int32)


_READERS: weakref.WeakSet[Generator] = weakref.WeakSet()


def _close_readers() -> None:
    """Stop the workers while the modules they need to be stopped with are still there."""
    for reader in list(_READERS):
        reader.close()


def check_reader() -> None:
    """Raise ImportError, naming the extra that installs it, without grain."""
    if importlib.util.find_spec("grain") is None:
        raise ImportError("streams are read by grain: pip install 'ntk_prune[tfds]'")


def _grain() -> Any:
    check_reader()
    import grain

    return grain


def _draw(
    examples: Sequence[Example], augment: Augment, seed: int, position: int, _: int
) -> tuple[np.ndarray, np.ndarray]:
    """What stands at ``position``, counted over all epochs; it has a generator of its own."""
    epoch, place = divmod(position, len(examples))
    i = int(_order(seed, epoch, len(examples))[place])
    # Trailing zeros do not change a seed, so 0 is left to the order of the epoch.
    return _arrays(*augment(np.random.default_rng([seed, epoch, i + 1]), *examples[i]))


@functools.lru_cache(maxsize=2)  # at the end of an epoch two are in use
def _order(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n)


def _resized(resize: Resize, example: Example) -> tuple[np.ndarray, np.ndarray]:
    return _arrays(*resize(*example))


def _arrays(image: Image.Image, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Masks stay uint8 until they are out of the workers."""
    return np.asarray(image), np.asarray(target)
