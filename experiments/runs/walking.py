"""Where runs lie: directories that hold ``config.json``, in natural order, each once."""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.errors import UserError

Identity = tuple[int, int]
"""Device and inode of a directory, by whatever path it is reached."""


def natural(path: str | Path) -> tuple[Any, ...]:
    """The key of a sort under which numbers in names count as numbers.

    >>> sorted(["seed_10", "seed_2"], key=natural)
    ['seed_2', 'seed_10']
    """
    parts = [re.split(r"(\d+)", part) for part in Path(path).parts]
    words = [[int(w) if i % 2 else w for i, w in enumerate(part)] for part in parts]
    return words, str(path)


def run_paths(directories: Iterable[Path]) -> list[Path]:
    """The runs at or below ``directories``, each once.

    Links are followed; a run that is reached twice has the path without a link, where there is one.
    Raises UserError when a directory does not exist or holds no run.
    """
    paths: dict[Identity, Path] = {}
    for directory in directories:
        for identity, path in runs_below(directory).items():
            paths.setdefault(identity, path)
    return list(paths.values())


def runs_below(directory: Path) -> dict[Identity, Path]:
    """The runs at or below one directory, in natural order.

    Checkpoints and hidden directories are left out, and so is what cannot be read. Raises UserError
    when the directory does not exist or holds no run.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory; give run directories or their parents")
    seen: set[Identity] = set()
    runs: dict[Identity, Path] = {}
    pending, links = [directory], []
    while pending or links:
        path = pending.pop() if pending else links.pop(0)
        with contextlib.suppress(OSError):  # removed meanwhile, or not ours to read
            status = os.stat(path)
            identity = status.st_dev, status.st_ino
            if identity not in seen:
                seen.add(identity)
                entries = _entries(path, pending, links)
                if "config.json" in entries:
                    runs[identity] = path
    if not runs:
        raise UserError(f"no runs in {directory}: no config.json in it or below it")
    return dict(sorted(runs.items(), key=lambda item: natural(item[1])))


def _entries(path: Path, pending: list[Path], links: list[Path]) -> set[str]:
    """The names of the files; directories below become pending, those behind links come last."""
    files, linked = set(), []
    with os.scandir(path) as entries:
        for entry in entries:
            hidden = entry.name.startswith(".") or entry.name == "checkpoints"
            if entry.is_dir(follow_symlinks=False):
                pending += [path / entry.name] * (not hidden)
            elif entry.is_symlink() and entry.is_dir():
                linked += [path / entry.name] * (not hidden)
            else:
                files.add(entry.name)
    links += sorted(linked, key=natural)
    return files
