"""Figures -> files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.plotting import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: "Figure", path: Path, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write ``path.png``, ``path.pdf``, ... (``path`` has no suffix) and return these files.

    Undated: the same figure gives the same bytes. OSError where the folder cannot be written.
    """
    import matplotlib

    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    files = [path.with_name(f"{path.name}.{kind}") for kind in formats]
    with matplotlib.rc_context({**style.RC, "svg.hashsalt": "ntk_prune"}):
        for file, kind in zip(files, formats, strict=True):
            figure.savefig(file, format=kind, metadata=undated.get(kind))
    return files
