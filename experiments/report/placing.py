"""A report appears whole or not at all, in place of an older one, and of nothing else."""

import contextlib
import ctypes
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.errors import UserError

PAGE = "index.html"
SIGNS = ("<title>Report: ", '<h2 id="environment">')
"""What the page of every report holds."""

LEFT_BEHIND = 3600.0
"""Seconds after which an unfinished report is taken for that of a killed process."""

_AT_CWD, _EXCHANGE = -100, 2


@contextlib.contextmanager
def placed(out: Path) -> Iterator[Path]:
    """An empty directory that becomes ``out`` when the block ends well, and vanishes otherwise.

    Raises UserError where ``out`` exists and is neither empty nor a report without other files,
    OSError where it cannot be written.
    """
    out = out.resolve()
    check(out)
    beside = next(parent for parent in out.parents if parent.exists())
    _sweep(beside, out.name)
    fresh = beside / f".{out.name}.{os.getpid()}.partial"
    fresh.mkdir()
    try:
        yield fresh
        check(out)  # once more: it took a while
        out.parent.mkdir(parents=True, exist_ok=True)
        _swap(fresh, out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check(out: Path) -> None:
    """UserError where something would be lost with ``out``: any file that no report wrote."""
    if out.is_dir():
        own = _own_files(out / PAGE)
        others = sorted(path.name for path in out.iterdir() if path.name not in own)
        if others:
            kind = "also holds" if own else "is no report: it holds"
            raise UserError(f"{out} {kind} {others[0]}; move that, or choose another --out")
    elif out.exists():
        raise UserError(f"{out} is a file; choose another --out")


def _own_files(page: Path) -> set[str]:
    """The files of the report with this page; none where it is no report's."""
    if page.is_symlink() or not page.is_file():
        return set()
    html = page.read_text(encoding="utf-8", errors="replace")
    if not all(sign in html for sign in SIGNS):
        return set()
    return {PAGE, *re.findall(r' <a href="([^"/]+\.(?:pdf|png))">', html)}


def _sweep(directory: Path, name: str) -> None:
    """Remove what killed reports of this name have left."""
    for path in directory.glob(f".{name}.*.partial"):
        number = path.name.split(".")[-2]
        with contextlib.suppress(OSError):
            if number.isdecimal() and time.time() - path.stat().st_mtime > LEFT_BEHIND:
                shutil.rmtree(path)


def _swap(fresh: Path, out: Path) -> None:
    """Put ``fresh`` in the place of ``out``, and what was there in that of ``fresh``."""
    if not out.exists():
        os.rename(fresh, out)
    elif not _exchange(fresh, out):
        aside = fresh.with_suffix(".replaced")
        os.rename(out, aside)
        try:
            os.rename(fresh, out)
        except OSError:
            os.rename(aside, out)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two directories in one step; False where the system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return rename(_AT_CWD, os.fsencode(a), _AT_CWD, os.fsencode(b), _EXCHANGE) == 0
