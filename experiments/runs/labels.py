"""What runs are called: their data, their network, and what differs between their configs."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.runs.reading import Run, flatten

IMMATERIAL = (
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
"""Fields that may differ between replicates: none of them changes what is computed."""


def differing(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names whose values are not the same in all of ``configs``, in their order.

    >>> differing([{"a": 1, "b": 2}, {"a": 1, "b": 3}])
    ['b']
    """
    names = dict.fromkeys(name for config in configs for name in config)
    return [n for n in names if any(c.get(n) != configs[0].get(n) for c in configs)]


def material(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A flat config without what may differ between replicates, as it changes no number."""
    own_images = str(settings.get("data.name")).endswith("folder")
    immaterial = {*IMMATERIAL, *["data.data_dir"] * (not own_images)}
    return {name: value for name, value in settings.items() if name not in immaterial}


def data_label(run: Run) -> str:
    """The data set with every option that is set, as ``digits augment=shift``."""
    hidden = ("cache_dir", "num_workers", *["data_dir"] * (not has_own_images(run)))
    return _describe(run.config.get("data", {}), hidden)


def model_label(run: Run) -> str:
    """The network with every option that is set, as ``resnet depth=20``.

    Pretrained weights stand in it as their source.
    """
    model = dict(run.config.get("model", {}))
    source = model.pop("weights_source", "?")
    return _describe(model | {"weights": source if model.get("weights") else None})


def network_label(run: Run) -> str:
    """Data and network: ``digits, mlp widths=12``."""
    return f"{data_label(run)}, {model_label(run)}"


def has_own_images(run: Run) -> bool:
    """Whether the folder says what the data are, and not only where they lie."""
    return str(run.config.get("data", {}).get("name")).endswith("folder")


def text(value: Any) -> str:
    """A value of a flat config; the parts of a tuple joined by hyphens."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _describe(section: Mapping[str, Any], hidden: tuple[str, ...] = ()) -> str:
    """``resnet depth=20 width=16``: the name and every option that is set."""
    flat = {name.rsplit(".", 1)[-1]: value for name, value in flatten(section).items()}
    options = [
        f"{name}={text(value)}"
        for name, value in flat.items()
        if name != "name" and name not in hidden and value not in (None, "none")
    ]
    return " ".join([str(flat.get("name", "?")), *options])
