"""Runs -> data frames. One row of ``overview`` is one run; one of ``summary`` is one experiment."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.plotting.statistics import mean_interval
from experiments.presentation import heading
from experiments.runs import Frame, Run
from experiments.runs.labels import data_label, differing, model_label, text
from experiments.runs.labels import material as material_settings

EXPERIMENT = ["data", "model", "method", "density"]
"""The columns that say which runs are replicates of one another."""

PANEL = ["data", "model", "measure"]
"""The columns that say which experiments can be compared with one another."""

CURVES = ("train/loss", "test/loss", "train/accuracy", "test/accuracy", "test/miou")
"""The metrics that make learning curves."""


def material(run: Run) -> dict[str, Any]:
    """The flat config without what may differ between replicates."""
    dense = method_of(run) == "dense"
    settings = material_settings(run.settings)
    return {n: v for n, v in settings.items() if not (dense and n.startswith("prune."))}


def measure_of(run: Run) -> str:
    """What the network is judged by: its mean IoU where it has one, or else its accuracy."""
    return "test/miou" if run.logged("test/miou") else "test/accuracy"


def method_of(run: Run) -> str:
    """The criterion of the run, or dense when nothing is pruned."""
    name = run.config.get("prune", {}).get("name", "none")
    return "dense" if name == "none" or target_density(run) == 1 else name


def control_of(run: Run) -> str:
    """The sanity check of the run, or none."""
    return run.config.get("prune", {}).get("control", "none")


def target_density(run: Run) -> float:
    """The density the config asks for; 1 where nothing is pruned."""
    prune = run.config.get("prune", {})
    return 1.0 if prune.get("name", "none") == "none" else float(prune.get("density", 1.0))


def labels(runs: Sequence[Run]) -> Frame:
    """data, model, measure, base method, control, method (readable, unique), density and seed.

    Runs of one method whose configs differ in anything but density and seed get that difference
    into their method label, so that only true replicates share a row or a line.
    """
    frame = _settings(runs)
    methods = [""] * len(runs)
    for _, group in frame.groupby(["data", "model", "base", "control"], sort=False):
        configs = [material(runs[i]) for i in group.index]
        names = [name for name in differing(configs) if name != "prune.density"]
        for i, config in zip(group.index, configs, strict=True):
            settings = [f"{n.rsplit('.', 1)[-1]}={text(config.get(n))}" for n in names]
            methods[i] = _method_label(method_of(runs[i]), runs[i], settings)
    return frame.assign(method=methods)


def _settings(runs: Sequence[Run]) -> Frame:
    return pd.DataFrame(
        {
            "data": [data_label(run) for run in runs],
            "model": [model_label(run) for run in runs],
            "measure": [measure_of(run) for run in runs],
            "base": [method_of(run) for run in runs],
            "control": ["none" if method_of(run) == "dense" else control_of(run) for run in runs],
            "density": [target_density(run) for run in runs],
            "seed": [run.seed for run in runs],
        },
    )


def _method_label(base: str, run: Run, settings: list[str]) -> str:
    control = [] if base == "dense" or control_of(run) == "none" else [control_of(run)]
    details = ", ".join([*control, *settings])
    return f"{base} ({details})" if details else base


def overview(runs: Sequence[Run]) -> Frame:
    """One row per run: what it was, what it kept, what it reached, how long and on what."""
    frame = labels(runs)
    pruned = [run.pruning or {} for run in runs]
    frame["kept"] = [p.get("kept") for p in pruned]
    frame["total"] = [p.get("total") for p in pruned]
    frame["result"] = [run.last(measure_of(run)) for run in runs]
    frame["train_loss"] = [run.last("train/loss") for run in runs]
    frame["epochs"] = [run.epochs for run in runs]
    frame["prune_seconds"] = [run.last("prune_seconds") for run in runs]
    frame["hardware"] = [run.hardware for run in runs]
    frame["status"] = _status(runs)
    return frame


def _status(runs: Sequence[Run]) -> list[str]:
    """finished, unfinished, or a repetition: the same experiment and seed again is no replicate."""
    seen: dict[str, Run] = {}
    status = []
    for run in runs:
        key = json.dumps([material(run), run.seed], sort_keys=True, default=str)
        if not run.finished:
            status.append("unfinished")
        elif key in seen:
            status.append(f"repeats {seen[key].path}")
        else:
            seen[key] = run
            status.append("finished")
    return status


def replicates(runs: Sequence[Run]) -> list[Run]:
    """The finished runs, each experiment and seed once."""
    return [r for r, status in zip(runs, _status(runs), strict=True) if status == "finished"]


def summary(runs: Sequence[Run]) -> Frame:
    """One row per experiment: mean, Student-t half width (None for n = 1) and n over its seeds."""
    rows = []
    frame = overview(runs).dropna(subset=["result"])
    keys = [*EXPERIMENT, "measure"]
    for key, group in frame.groupby(keys, sort=False):
        mean, half_width, n = mean_interval(group["result"])
        first = group.iloc[0]
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"base": first["base"], "control": first["control"]}
            | {"achieved": (group["kept"] / group["total"]).astype(float).mean()}
            | {"mean": mean, "half_width": half_width, "n": n}
        )
    columns = [*keys, "base", "control", "achieved", "mean", "half_width", "n"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def measures(runs: Sequence[Run]) -> list[str]:
    """What these runs are judged by, in words: ``["test accuracy"]``."""
    return [heading(m).removesuffix(" (%)") for m in dict.fromkeys(map(measure_of, runs))]


def layers(runs: Sequence[Run]) -> Frame:
    """One row per run and layer: depth (from 1), layer, shape, kept, connected, total, collapsed.

    ``connected``, the kept weights on a path through the network, is missing where it is unknown.
    """
    rows = [
        dict(label)
        | {"depth": depth, "layer": layer["name"], "shape": tuple(layer["shape"])}
        | {"kept": layer["kept"], "total": layer["total"], "connected": layer.get("connected")}
        | {"collapsed": layer["name"] in run.pruning["collapsed"]}
        for label, run in zip(labels(runs).to_dict("records"), runs, strict=True)
        if run.pruning is not None
        for depth, layer in enumerate(run.pruning["layers"], start=1)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(layer_density=frame["kept"] / frame["total"]) if rows else frame


def has_curves(runs: Sequence[Run]) -> bool:
    """Whether ``curves`` of these runs has rows."""
    return any(run.logged(name) for run in runs for name in CURVES)


def curves(runs: Sequence[Run]) -> Frame:
    """Losses and accuracies of all runs: step, epoch, name, value, then the labels of the run."""
    if not has_curves(runs):
        return pd.DataFrame()
    every = pd.concat([run.metrics for run in runs], keys=range(len(runs)), names=["run", None])
    every = every[every["name"].isin(CURVES)].reset_index("run")
    every = every.drop_duplicates(["run", "name", "step"], keep="last")
    described = labels(runs).loc[every.pop("run")].reset_index(drop=True)
    return pd.concat([every.reset_index(drop=True), described], axis=1)


def configs(runs: Sequence[Run]) -> Frame:
    """What differs between the configs: one row per different config, with its seeds."""
    rows: dict[str, dict[str, Any]] = {}
    flat = [{k: v for k, v in run.settings.items() if k != "seed"} for run in runs]
    names = differing(flat)
    for run, config in zip(runs, flat, strict=True):
        values = {name: config.get(name, "-") for name in names}
        row = rows.setdefault(json.dumps(values, default=str), {**values, "seeds": []})
        row["seeds"].append(run.seed)
    for row in rows.values():
        row["seeds"] = ", ".join(map(str, sorted(row["seeds"])))
    return pd.DataFrame(list(rows.values()))
