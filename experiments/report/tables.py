"""Runs -> data frames. One row of ``overview`` is one run; one of ``summary`` is one experiment."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.report.runs import Frame, Run
from experiments.report.statistics import mean_interval

EXPERIMENT = ["data", "model", "method", "density"]
"""The columns that say which runs are replicates of one another."""

PANEL = ["data", "model", "measure"]
"""The columns that say which experiments can be compared with one another."""

CURVES = ("train/loss", "test/loss", "train/accuracy", "test/accuracy", "test/miou")
"""The metrics that make learning curves."""

# Fields that may differ between replicates: none of them changes what is computed.
_IMMATERIAL = (
    "seed",
    "pictures",
    "data.cache_dir",
    "data.num_workers",
    "train.parallel",
    "train.num_devices",
    "train.steps_per_call",
    "train.eval_batch_size",
    "train.checkpoint_every",
)


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as dotted names; lists become tuples so that values can be compared.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': (2,)}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = tuple(value) if isinstance(value, list) else value
    return flat


def material(run: Run) -> dict[str, Any]:
    """The flat config without what may differ between replicates."""
    flat = flatten(run.config)
    dense = method_of(run) == "dense"
    return {
        name: value
        for name, value in flat.items()
        if name not in _IMMATERIAL
        and not (name == "data.data_dir" and not _own_images(run))
        and not (dense and name.startswith("prune."))
    }


def differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The names whose values are not the same in all of ``configs``, in their order."""
    names = dict.fromkeys(name for config in configs for name in config)
    return [n for n in names if len({json.dumps(c.get(n), default=str) for c in configs}) > 1]


def _own_images(run: Run) -> bool:
    """Whether the folder says what the data are, and not only where they lie."""
    return str(run.config.get("data", {}).get("name")).endswith("folder")


def heading(metric: str) -> str:
    """The metric as a column or an axis names it; shares are shown in per cent.

    >>> heading("test/miou"), heading("train/loss")
    ('test mIoU (%)', 'train loss')
    """
    return metric.replace("/", " ").replace("miou", "mIoU") + " (%)" * is_share(metric)


def is_share(metric: str) -> bool:
    """Whether the metric lies in [0, 1]: an accuracy or a mean IoU."""
    return metric.endswith(("accuracy", "miou"))


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


def _describe(section: dict[str, Any], hidden: tuple[str, ...] = ()) -> str:
    """``resnet depth=20 width=16``: the name and every option that is set."""
    flat = {name.rsplit(".", 1)[-1]: value for name, value in flatten(section).items()}
    options = [
        f"{name}={_text(value)}"
        for name, value in flat.items()
        if name != "name" and name not in hidden and value not in (None, "none")
    ]
    return " ".join([str(flat.get("name", "?")), *options])


def _text(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def labels(runs: Sequence[Run]) -> Frame:
    """data, model, measure, base method, control, method (readable, unique), density and seed.

    Runs of one method whose configs differ in anything but density and seed get that difference
    into their method label, so that only true replicates share a row or a line.
    """
    frame = pd.DataFrame(
        {
            "data": [_data_label(run) for run in runs],
            "model": [_model_label(run) for run in runs],
            "measure": [run.measure for run in runs],
            "base": [method_of(run) for run in runs],
            "control": ["none" if method_of(run) == "dense" else control_of(run) for run in runs],
            "density": [target_density(run) for run in runs],
            "seed": [run.seed for run in runs],
        },
    )
    frame["method"] = ""
    for _, group in frame.groupby(["data", "model", "base", "control"], sort=False):
        configs = [material(runs[i]) for i in group.index]
        names = [name for name in differing(configs) if name != "prune.density"]
        for i, config in zip(group.index, configs, strict=True):
            settings = [f"{n.rsplit('.', 1)[-1]}={_text(config.get(n))}" for n in names]
            frame.loc[i, "method"] = _method_label(frame.loc[i, "base"], runs[i], settings)
    return frame


def _data_label(run: Run) -> str:
    hidden = ("cache_dir", "num_workers", *["data_dir"] * (not _own_images(run)))
    return _describe(run.config.get("data", {}), hidden)


def _model_label(run: Run) -> str:
    """Pretrained weights stand in it as their source; another file makes another method label."""
    model = dict(run.config.get("model", {}))
    source = model.pop("weights_source", "?")
    return _describe(model | {"weights": source if model.get("weights") else None})


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
    frame["result"] = [run.last(run.measure) for run in runs]
    frame["train_loss"] = [run.last("train/loss") for run in runs]
    frame["epochs"] = [run.metrics["epoch"].max() for run in runs]
    frame["prune_seconds"] = [run.last("prune_seconds") for run in runs]
    frame["hardware"] = [hardware(run) for run in runs]
    frame["status"] = _status(runs)
    return frame


def hardware(run: Run) -> str:
    """The devices of the run: ``4 x NVIDIA H100``, or the processor with its cores."""
    devices = run.env.get("devices") or []
    if run.env.get("backend", "cpu") == "cpu":
        return f"{run.env.get('processor') or 'CPU'}, {run.env.get('cpu_count', '?')} cores"
    return ", ".join(f"{devices.count(kind)} x {kind}" for kind in dict.fromkeys(devices))


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
    return [heading(m).removesuffix(" (%)") for m in dict.fromkeys(run.measure for run in runs)]


def layers(runs: Sequence[Run]) -> Frame:
    """One row per run and layer: depth (from 1), layer, shape, kept, total, collapsed."""
    rows = [
        dict(label)
        | {"depth": depth, "layer": layer["name"], "shape": tuple(layer["shape"])}
        | {"kept": layer["kept"], "total": layer["total"]}
        | {"collapsed": layer["name"] in run.pruning["collapsed"]}
        for label, run in zip(labels(runs).to_dict("records"), runs, strict=True)
        if run.pruning is not None
        for depth, layer in enumerate(run.pruning["layers"], start=1)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(layer_density=frame["kept"] / frame["total"]) if rows else frame


def curves(runs: Sequence[Run]) -> Frame:
    """Losses and accuracies of all runs: the labels of the run, then step, epoch, name, value."""
    described = labels(runs).to_dict("records")
    frames = [
        run.metrics[run.metrics["name"].isin(CURVES)]
        .drop_duplicates(["name", "step"], keep="last")
        .assign(**label)
        for label, run in zip(described, runs, strict=True)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def configs(runs: Sequence[Run]) -> Frame:
    """What differs between the configs: one row per different config, with its seeds."""
    rows: dict[str, dict[str, Any]] = {}
    flat = [{k: v for k, v in flatten(run.config).items() if k != "seed"} for run in runs]
    names = differing(flat)
    for run, config in zip(runs, flat, strict=True):
        values = {name: config.get(name, "-") for name in names}
        row = rows.setdefault(json.dumps(values, default=str), {**values, "seeds": []})
        row["seeds"].append(run.seed)
    for row in rows.values():
        row["seeds"] = ", ".join(map(str, sorted(row["seeds"])))
    return pd.DataFrame(list(rows.values()))
