"""Parameters and masks as safetensors files; checkpoints of a running training through orbax."""

import contextlib
import json
import logging
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ntk_prune import masks

BITS = "bits"  # the one metadata key: JSON {name: shape} of the bit-packed tensors
LOG = logging.getLogger(__name__)

PARTIAL = ".partial"  # ends the names of files that are being written


def save_tree(path: str | os.PathLike, tree: Any) -> None:
    """Write a tree of arrays, such as a nested dict, as safetensors keyed by "/"-joined path, all
    or nothing.

    Boolean leaves are stored eight to a byte (``np.packbits`` of the flat array), their shapes as
    JSON in the metadata under ``"bits"``; elsewhere ``np.unpackbits(a, count=n)`` reads them.
    Equal trees make equal files.
    """
    tensors, shapes = {}, {}
    for path_of_leaf, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = masks.name_of(path_of_leaf)
        array = np.asarray(leaf)
        if array.dtype == bool:
            shapes[name] = array.shape
            array = np.packbits(array)
        tensors[name] = np.asarray(array, order="C")
    # One key: safetensors writes several in an order that changes from process to process.
    write_atomically(Path(path), save(tensors, {BITS: json.dumps(shapes)}))


def load_tree(path: str | os.PathLike) -> dict[str, Any]:
    """The nested dict of numpy arrays that ``save_tree`` wrote.

    Raises FileNotFoundError, or ValueError for a file that ``save_tree`` did not write.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    tree: dict[str, Any] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = json.loads((file.metadata() or {}).get(BITS, "{}"))
            for name in file.keys():  # noqa: SIM118 (not a dict)
                _insert(tree, name, _unpack(file.get_tensor(name), shapes.get(name)))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or of another program: {error}") from None
    return tree


def _unpack(array: np.ndarray, shape: list[int] | None) -> np.ndarray:
    if shape is None:
        return array
    count = math.prod(shape)
    if array.size != -(-count // 8):
        raise ValueError(f"{array.size} bytes of bits for a mask of shape {shape}")
    return np.unpackbits(array, count=count).astype(bool).reshape(shape)


def _insert(tree: dict[str, Any], name: str, leaf: np.ndarray) -> None:
    *parents, last = name.split("/")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = leaf


def write_atomically(path: Path, content: bytes) -> None:
    """Whoever opens ``path``, at whatever moment, finds the old content or the new."""
    with replacing(path) as fresh:
        fresh.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The name of a file to write, which takes the place of ``path`` once it is on disk, whole;
    after an exception it is gone. ``is_partial`` knows one that a killed process left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        yield fresh
        with open(fresh, "rb") as file:
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def is_partial(path: Path) -> bool:
    """Whether ``write_atomically`` was killed while it wrote this file."""
    own_name = re.fullmatch(rf"\..+\.\d+{re.escape(PARTIAL)}", path.name, re.ASCII)
    return bool(own_name) and path.is_file() and not path.is_symlink()


def remove_partial_files(directory: Path, until: str) -> None:
    """Remove the partial files in a directory and below it, but for the subdirectories that hold a
    file ``until``: they are somebody else's."""
    for path in list(directory.iterdir()):
        if is_partial(path):
            path.unlink(missing_ok=True)
        elif path.is_dir() and not path.is_symlink() and not (path / until).exists():
            remove_partial_files(path, until)


class Checkpoints:
    """The newest ``keep`` checkpoints in ``directory``: written synchronously, all or nothing.

    A checkpoint whose writing was cut short is ignored. Each of several processes takes a directory
    of its own and the arrays that it can read whole. Use it as a context manager, or ``close``.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        import orbax.checkpoint as ocp  # takes 0.7 s

        logging.getLogger("absl").addFilter(_without_orbax_noise)

        self._args = ocp.args
        Path(directory).mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            Path(directory).absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep,
                create=False,
                enable_async_checkpointing=False,
                multiprocessing_options=_alone(ocp),
            ),
        )

    def save(self, step: int, tree: Any) -> None:
        """Write the tree of arrays as the checkpoint of ``step``; returns when it is on disk."""
        if jax.process_count() > 1:
            tree = jax.tree.map(np.asarray, tree)
        self._manager.save(step, args=self._args.StandardSave(tree), force=True)

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, or None."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """The steps of the complete checkpoints."""
        return sorted(self._manager.all_steps())

    def remove_after(self, step: int) -> None:
        """Remove the checkpoints of later steps."""
        for later in self.steps():
            if later > step:
                self._manager.delete(later)

    def restore(self, target: Any, step: int | None = None) -> Any:
        """The checkpoint of ``step`` (default: the newest), shaped and placed like ``target``.

        ``target`` is a tree of arrays or ``jax.ShapeDtypeStruct``; its values are not read. Where
        it was written, and on how many devices, does not matter. Without ``step``, a damaged
        newest one is passed over with a warning, and removed, where an older one can be read.
        Raises FileNotFoundError when there is no such checkpoint, ValueError when none is whole.
        """
        tried = [s for s in reversed(self.steps()) if step in (None, s)]
        if not tried:
            raise FileNotFoundError(
                f"no checkpoint{'' if step is None else f' of step {step}'} "
                f"in {self._manager.directory}"
            )
        abstract = jax.tree.map(_abstract, target)
        for number, candidate in enumerate(tried):
            try:
                tree = self._manager.restore(candidate, args=self._args.StandardRestore(abstract))
            except Exception as error:  # of damaged arrays orbax raises a bare one
                damage = error
                continue
            for damaged in tried[:number]:
                LOG.warning(f"the checkpoint of step {damaged} in {self._manager.directory} is "
                            f"damaged; going on from step {candidate}")  # fmt: skip
                self._manager.delete(damaged)
            return tree
        raise ValueError(
            f"no checkpoint in {self._manager.directory} can be read "
            f"({' '.join(str(damage).split())[:200]})"
        )

    def close(self) -> None:
        """Release the directory."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _alone(ocp: Any) -> Any:
    """Every process writes a directory of its own and waits for no other."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    own = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    )


def _without_orbax_noise(record: logging.LogRecord) -> bool:
    """Drop what orbax logs: leftovers of a kill that it removes by itself, and errors of its
    threads, which it raises as well."""
    return "orbax" not in record.pathname


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and place of a leaf; the first device when it has no place."""
    sharding = getattr(leaf, "sharding", None)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
