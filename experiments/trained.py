"""Trained networks as run directories hold them, and whether two of them fit together."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.config import DataConfig, ModelConfig, from_dict
from experiments.errors import UserError, user_errors
from ntk_prune import checkpoint, masks
from ntk_prune.types import Mask, Params, State


class Trained(NamedTuple):
    """A trained network, what made it and where it lies; ``params`` are multiplied by ``mask``."""

    path: Path
    model: ModelConfig
    data: DataConfig
    loss: str
    params: Params
    state: State
    mask: Mask


def load(path: Path) -> Trained:
    """The network in a directory that has ``params_final``: a run, or a part of one.

    UserError where there is none or its training is unfinished.
    """
    if not (path / "params_final.safetensors").is_file():
        inside = sorted(f.parent for f in path.rglob("params_final.safetensors"))
        hint = f"; name one of those inside: {', '.join(map(str, inside))}" if inside else ""
        raise UserError(f"there is no trained network in {path}{hint}")
    if not (path / "DONE").exists():
        raise UserError(f"{path} is unfinished; run it to its end first")
    plain = _config_of(path)
    with user_errors(str(path)):
        saved = checkpoint.load_tree(path / "params_final.safetensors")
        params, mask = saved["params"], masks.ones_like(saved["params"])
        if (path / "mask.safetensors").is_file():
            mask = checkpoint.load_tree(path / "mask.safetensors")
        masks.check(params, mask)
        return Trained(
            path=path,
            model=from_dict(ModelConfig, plain["model"]),
            data=from_dict(DataConfig, plain["data"]),
            loss=plain.get("train", plain.get("retrain", {})).get("loss", "cross_entropy"),
            params=masks.apply(params, mask),
            state=saved.get("state", {}),
            mask=mask,
        )


def _config_of(path: Path) -> dict[str, Any]:
    """The config that a network was trained by: of its directory or the nearest one above."""
    for folder in (path, *path.absolute().parents):
        for name in ("lottery.json", "config.json"):  # a branch's own training, or a run
            if (folder / name).is_file():
                plain = json.loads((folder / name).read_text(encoding="utf-8"))
                if "model" in plain and "data" in plain:
                    return plain
                raise UserError(f"{folder / name} has no network and data: nothing to measure")
    raise UserError(f"{path} belongs to no run: there is no config.json in it or above it")


def check_fit(a: Trained, b: Trained) -> None:
    """UserError unless the two are networks of one architecture on the same data."""
    for what, left, right in (
        ("model", _architecture(a), _architecture(b)),
        ("data", _images(a.data), _images(b.data)),
        ("loss", a.loss, b.loss),
    ):
        if left != right:
            raise UserError(f"{a.path} and {b.path} do not fit together: {what} {left} and {right}")
    shapes = [jax.tree.map(np.shape, (network.params, network.state)) for network in (a, b)]
    if shapes[0] != shapes[1]:
        raise UserError(f"{a.path} and {b.path} do not fit together: their weights differ in shape")


def _architecture(network: Trained) -> str:
    options = (f"{k}={v}" for k, v in vars(network.model.options).items() if k != "dtype")
    return " ".join([network.model.name, *options])


def _images(data: DataConfig) -> str:
    fields = ("image_size", "channels", "input_size")
    chosen = ((field, getattr(data, field)) for field in fields)
    return " ".join([data.name, *(f"{k}={v}" for k, v in chosen if v is not None)])
