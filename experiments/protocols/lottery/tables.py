"""The rows of lotteries and their branches, together where they are about one network."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from experiments.errors import UserError
from experiments.plotting.statistics import mean_interval
from experiments.presentation import NOTHING, Table, per_cent, with_interval
from experiments.runs import Frame, Run, ancestors, in_families
from experiments.runs.labels import differing, network_label
from experiments.runs.reading import flatten

# Fields of a lottery that do not change what one of its networks is.
_IMMATERIAL = ("seed", "replicates", "at_once", "levels", "branches", "data.data_dir")

# Heads of the columns, and what their values are multiplied by.
_COLUMNS = {
    "test/accuracy": ("test accuracy (%)", 100.0),
    "early_stop/accuracy": ("at early stop (%)", 100.0),
    "early_stop/step": ("early stop (step)", 1.0),
    "learnt/step": ("learnt (step)", 1.0),
    "barrier": ("barrier (%)", 100.0),
}


def frames(runs: Sequence[Run]) -> Iterator[tuple[str, Frame]]:
    """``(network, rows)`` of all finished lotteries and branches, by data and network of their
    roots.

    To the rows of ``results.json`` come ``run``, ``setting`` (the curve with what its lottery does
    not share with the others, but for the rewind step) and ``draw``; ``curve`` tells lotteries
    apart, and ``replicate`` counts from the seed. UserError where a file is damaged.
    """
    for network, pairs in _by_network(runs).items():
        configs = [_material(root.config) for _, root in pairs]
        names = differing(configs)
        rows = []
        for (run, root), config in zip(pairs, configs, strict=True):
            rows += _rows(run, root, config, names)
        # One network may be in several runs: seeds overlap, branches run inside and once more.
        yield network, pd.DataFrame(rows).drop_duplicates(["curve", "level", "replicate", "draw"])


def _by_network(runs: Sequence[Run]) -> dict[str, list[tuple[Run, Run]]]:
    """Finished runs with the lotteries at their roots, by data and network of these."""
    runs = in_families([run for run in runs if run.finished])
    by_path = {run.path.resolve(): run for run in runs}
    groups: dict[str, list[tuple[Run, Run]]] = {}
    for run in runs:
        *_, root = ancestors(run, by_path)
        if root.protocol == "lottery":
            groups.setdefault(network_label(root), []).append((run, root))
    return groups


def _rows(
    run: Run, root: Run, config: Mapping[str, Any], names: Sequence[str]
) -> list[dict[str, Any]]:
    others = [name for name in names if name != "rewind"]
    return [
        {
            **row,
            "run": str(run.path),
            "curve": _curve(row["curve"], names, config),
            "setting": _curve(row["curve"], others, config),
            "replicate": root.seed + row["replicate"],
            "draw": 0 if run is root else run.seed,
        }
        for row in _stored_rows(run)
    ]


def _curve(name: str, fields: Sequence[str], config: Mapping[str, Any]) -> str:
    """The curve with these fields of its lottery: ``tickets (rewind=5it)``."""
    setting = ", ".join(f"{field.rsplit('.', 1)[-1]}={config.get(field)}" for field in fields)
    return f"{name} ({setting})" if setting else name


def _material(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flatten(config).items() if name not in _IMMATERIAL}


def _stored_rows(run: Run) -> list[dict[str, Any]]:
    file = run.path / "results.json"
    try:
        return json.loads(file.read_text())["rows"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"cannot read {file}: {error}") from None


def levels(frame: Frame, title: str) -> Table:
    """A row per curve and level: means and intervals over the replicates, where all of them have a
    value."""
    shown = {name: column for name, column in _COLUMNS.items() if name in frame}
    heads = ["curve", "level", "density (%)", *(head for head, _ in shown.values()), "n"]
    rows = [
        [str(curve), str(level), per_cent(group["density"].mean()),
         *(_mean(group[name], scale) for name, (_, scale) in shown.items()),
         str(group["replicate"].nunique())]
        for (curve, level), group in frame.groupby(["curve", "level"], sort=False)
    ]  # fmt: skip
    return Table(heads, rows, range(1, len(heads)), title)


def _mean(values: Frame, scale: float) -> str:
    """``307.00 ± 33.12``; a dash where one is missing."""
    if values.isna().any():
        return NOTHING
    mean, half_width, _ = mean_interval(values)
    return with_interval(mean, half_width, scale)
