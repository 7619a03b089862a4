"""Lotteries and their branches among the runs: which belong together, and their common rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments.errors import UserError
from experiments.report import lottery_figures, page_tables, tables
from experiments.report.page_tables import Table
from experiments.report.runs import Frame, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PROTOCOLS = ("lottery", "lottery_branch")
# Fields of a lottery that do not change what one of its networks is.
_IMMATERIAL = ("seed", "replicates", "at_once", "levels", "branches", "data.data_dir")

CAPTIONS = {
    "levels": "Levels of the lotteries and of their branches. Lines: means over replicates; bars: "
    "Student-t 95 % intervals (none for one replicate), moved sideways a little.",
    "connectivity": "Left: the barrier of the test error on the line between two trained networks, "
    "means with Student-t 95 % intervals; right: the mean error on it.",
    "stability": "The barrier between two networks trained with different orders of the data from "
    "the rewind step on; means with Student-t 95 % intervals over replicates.",
}


def in_families(runs: Sequence[Run]) -> list[Run]:
    """The runs in the order of their paths, but a branch right after its parent."""
    by_path = {run.path.resolve(): run for run in runs}

    def place(run: Run) -> tuple[str, int, str]:
        ancestors = list(_ancestors(run, by_path))
        return str(ancestors[-1].path.resolve()), len(ancestors), str(run.path)

    return sorted(runs, key=place)


def _ancestors(run: Run, by_path: Mapping[Path, Run]) -> Iterator[Run]:
    """The run, its parent and so on, as far as they are among ``by_path``."""
    seen: Run | None = run
    while seen is not None:
        yield seen
        if seen.config.get("protocol") != "lottery_branch":
            return
        parent = seen.config.get("parent") or seen.path / "parent"
        seen = by_path.get(Path(parent).resolve())


def figures(runs: Sequence[Run]) -> Iterator[tuple[str, str, "Figure"]]:
    """``(kind, network, figure)`` of what several runs on one network show together."""
    for network, frame in _frames(runs):
        if frame["run"].nunique() > 1:
            for kind, figure in lottery_figures.all_of(frame.to_dict("records")).items():
                yield kind, network, figure
        if "rewind" in frame and frame["rewind"].nunique() > 1:
            measured = frame[frame["rewind"].notna()]
            yield "stability", network, lottery_figures.stability(measured)


def _frames(runs: Sequence[Run]) -> Iterator[tuple[str, Frame]]:
    """The rows of all finished lotteries and branches, by data and network of their roots."""
    runs = [run for run in runs if run.config.get("protocol") in _PROTOCOLS and run.finished]
    runs = in_families(runs)
    by_path = {run.path.resolve(): run for run in runs}
    roots = [[*_ancestors(run, by_path)][-1] for run in runs]
    groups: dict[str, list[tuple[Run, Run]]] = {}
    for run, root in zip(runs, roots, strict=True):
        if root.config.get("protocol") == "lottery":
            label = tables.labels([root]).iloc[0]
            groups.setdefault(f"{label['data']}, {label['model']}", []).append((run, root))
    for network, pairs in groups.items():
        configs = [_material(root.config) for _, root in pairs]
        names = tables.differing(configs)
        rows = []
        for (run, root), config in zip(pairs, configs, strict=True):
            rows += [
                {
                    **row,
                    "run": str(run.path),
                    "curve": _curve(row["curve"], names, config),
                    "setting": _curve(row["curve"], [n for n in names if n != "rewind"], config),
                    "replicate": root.seed + row["replicate"],
                    "draw": 0 if run is root else run.seed,
                }
                for row in _rows(run)
            ]
        # One network may be in several runs: seeds overlap, branches run inside and once more.
        yield network, pd.DataFrame(rows).drop_duplicates(["curve", "level", "replicate", "draw"])


def _curve(name: str, fields: Sequence[str], config: Mapping[str, Any]) -> str:
    """The curve with what its lottery does not share with the others."""
    setting = ", ".join(f"{field.rsplit('.', 1)[-1]}={config.get(field)}" for field in fields)
    return f"{name} ({setting})" if setting else name


def level_tables(runs: Sequence[Run]) -> Iterator[tuple[str, Table]]:
    """``(network, table)``: a row for every level of every curve."""
    for network, frame in _frames(runs):
        yield network, page_tables.levels(frame)


def _material(config: Mapping[str, Any]) -> dict[str, Any]:
    flat = tables.flatten(dict(config))
    return {name: value for name, value in flat.items() if name not in _IMMATERIAL}


def _rows(run: Run) -> list[dict[str, Any]]:
    """What ``results.json`` holds. UserError where it is damaged."""
    file = run.path / "results.json"
    try:
        return json.loads(file.read_text())["rows"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
