"""Compiled programs are kept between commands, in the user's cache directory."""

import contextlib
import hashlib
import os
import platform
import zlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

MOST_BYTES = 2**30
LEAST_SECONDS = 0.3
"""What compiles faster is not kept."""

_CHECKED = "checked"  # its modification time says which entries have been read


def keep_programs() -> None:
    """Let JAX keep what it compiles under ``$XDG_CACHE_HOME/ntk_prune/programs`` (``~/.cache``).

    Each kind of processor has a directory of its own, as programs are made for one. Entries that a
    kill left half written are removed, and the oldest beyond ``MOST_BYTES``. Several processes may
    do so at a time. Nothing happens where JAX has a cache already (``JAX_COMPILATION_CACHE_DIR``),
    where caches are off (``JAX_ENABLE_COMPILATION_CACHE=false``), and where nothing can be written.
    """
    config: Any = jax.config  # whose fields are not declared
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    parent = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    root = parent / "ntk_prune" / "programs"
    directory = root / _processor()
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home directory
        directory.mkdir(parents=True, exist_ok=True)
        _remove_damaged(directory)
        _remove_oldest(root)
        config.update("jax_compilation_cache_dir", str(directory))
        config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)


def _processor() -> str:
    """Digits that differ between the processors, and the compilers, whose programs differ."""
    what = [platform.machine(), version("jaxlib")]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        what += sorted({line for line in lines if line.startswith(("model name", "flags"))})
    return hashlib.sha256("\n".join(what).encode()).hexdigest()[:16]


def _remove_damaged(directory: Path) -> None:
    """Read the entries that are new since the last time; those that zlib wrote have a checksum."""
    mark = directory / _CHECKED
    last = mark.stat().st_mtime if mark.exists() else 0.0
    for entry in directory.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if entry.stat().st_mtime >= last and not _is_whole(entry.read_bytes()):
                entry.unlink()
    mark.touch()


def _is_whole(entry: bytes) -> bool:
    if entry and entry[0] != 0x78:  # not zlib's first byte: jax has zstandard
        return True
    stream = zlib.decompressobj()
    try:
        stream.decompress(entry)
    except zlib.error:
        return False
    return stream.eof


def _remove_oldest(root: Path) -> None:
    """Remove entries, the longest unused first, until ``MOST_BYTES`` are left."""
    entries = []
    for entry in root.glob("*/*-cache"):
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat()
            entries.append((max(status.st_atime, status.st_mtime), status.st_size, entry))
    total = sum(size for _, size, _ in entries)
    for _, size, entry in sorted(entries):
        if total <= MOST_BYTES:
            break
        entry.unlink(missing_ok=True)
        total -= size
