"""Decoded arrays in one .npz, trusted only while the files they came from are unchanged."""

import hashlib
import json
import os
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
Listing = list[tuple[str, int, int]]
"""``(path relative to the root, bytes, modification time in ns)`` of every source file."""

PREFIX = "ntk_prune-"
DECODING = 2
"""Changes when the same files are decoded to other numbers: older caches are not taken then."""


def cached(
    build: Callable[[], Arrays],
    root: Path,
    listing: Listing,
    image_size: int | None,
    cache_dir: str | os.PathLike | None,
) -> Arrays:
    """``build()``, or what an earlier call stored for this ``listing`` and ``image_size``.

    Stored in ``cache_dir`` if given, else in ``root`` if that is writable, else in the user's
    cache folder. A cache that cannot be written costs a warning, never the data.
    """
    path = cache_path(root, image_size, cache_dir)
    key = hashlib.sha256(json.dumps([DECODING, image_size, listing]).encode()).hexdigest()
    arrays = _read(path, key)
    if arrays is None:
        arrays = build()
        try:
            _write(path, {"key": np.array(_stamp(key, arrays)), **arrays})
        except OSError as error:
            warnings.warn(f"decoded images are not cached: {error}", stacklevel=2)
    return arrays


def cache_path(
    root: Path, image_size: int | None, cache_dir: str | os.PathLike | None = None
) -> Path:
    """Where the arrays decoded from ``root`` at ``image_size`` are stored."""
    root = root.resolve()
    name = f"{PREFIX}{image_size or 'native'}.npz"
    if cache_dir is None and os.access(root, os.W_OK):
        return root / name
    if cache_dir is None:
        cache_dir = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ntk_prune"
    # Several roots share this folder, and two may have the same last name.
    owner = f"{root.parent.name}-{root.name}-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"
    return Path(cache_dir).expanduser() / owner / name


def _read(path: Path, key: str) -> Arrays | None:
    """The stored arrays, or None where there are none, of another key, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if any(m.compress_type != zipfile.ZIP_STORED for m in stored.zip.infolist()):
                return None  # not written here, and it may grow to anything
            names = [name for name in stored.files if name != "key"]
            if str(stored["key"]) != _stamp(key, names):
                return None
            return {name: stored[name] for name in names}
    except Exception:  # damaged bytes lead numpy and zipfile to any of them
        return None


def _stamp(key: str, names: Iterable[str]) -> str:
    """The key with the arrays that belong to it: damage may rename one."""
    return f"{key} {' '.join(sorted(names))}"


def _write(path: Path, arrays: Arrays) -> None:
    """Write beside ``path`` and rename, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its files are readable by one user alone, and data folders are shared.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
