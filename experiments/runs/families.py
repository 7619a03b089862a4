"""Runs that go on from others: a config names its ``parent``, or the run holds it as ``parent``."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.runs.reading import Run
from experiments.runs.walking import natural


def in_families(runs: Sequence[Run]) -> list[Run]:
    """The runs in the natural order of their paths, but every run right after its parent."""
    by_path = {run.path.resolve(): run for run in runs}

    def place(run: Run) -> tuple[Any, int, Any]:
        generations = list(ancestors(run, by_path))
        return natural(generations[-1].path.resolve()), len(generations), natural(run.path)

    return sorted(runs, key=place)


def ancestors(run: Run, by_path: Mapping[Path, Run]) -> Iterator[Run]:
    """The run, its parent and so on, as far as they are among ``by_path`` (resolved paths)."""
    generation: Run | None = run
    while generation is not None:
        yield generation
        parent = generation.config.get("parent") or generation.path / "parent"
        generation = by_path.get(Path(parent).resolve())
