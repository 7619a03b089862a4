"""Pruning of one trained network: ``d<i>/<method>/...`` at the density ``densities[i]``."""

import functools
import re
from pathlib import Path

import jax
import numpy as np

from ntk_prune import allocation, masks, pruners
from ntk_prune.types import Batch
from tools.parity.files import Arrays, Jobs, Pairs
from tools.parity.three_regime.networks import PreResNets

INPUTS = re.compile(r"weights/.*|layer_names|layer_sizes|densities")
NO_DATA = Batch(np.zeros((1, 0, 32, 32, 3)), np.zeros((1, 0), int))
METHODS = {
    "unif_conv": pruners.magnitude("uniform", exclude=("fc",)),
    "glob_conv": pruners.magnitude("global", exclude=("fc",)),
    "unif": pruners.magnitude("uniform"),
    "glob": pruners.magnitude("global"),
    "unifplus": pruners.magnitude("uniform_plus"),
    "erk": pruners.magnitude("erk_rounded"),
    "lamp": pruners.lamp(),
}


def recognises(arrays: Arrays) -> bool:
    """Whether the file holds masks of a trained network."""
    return "densities" in arrays


def jobs(arrays: Arrays, path: Path) -> Jobs:
    """The scores, and one for each density and method."""
    del path
    file = PreResNets(arrays)
    densities = range(len(arrays["densities"]))
    cases = [(i, m) for i in densities for m in METHODS if f"d{i}/{m}/kept" in arrays]
    return [
        functools.partial(criteria, file),
        *(functools.partial(pruned, file, *case) for case in cases),
    ]


def criteria(file: PreResNets) -> dict[str, Pairs]:
    """What the methods rank and share by."""
    params, state = file.network("weights")
    network = (file.model, params, state, masks.ones_like(params))
    scores = METHODS["lamp"].score(jax.random.key(0), *network, NO_DATA)
    shapes = [file.arrays[f"weights/{name}"].shape for name in file.arrays["layer_names"]]
    return {
        "lamp_score": file.pairs("lamp_score", scores),
        "erk_raw": [(allocation.erk_weights(shapes), file.arrays["erk_raw"])],
    }


def pruned(file: PreResNets, i: int, method: str) -> dict[str, Pairs]:
    """Masks and kept weights per layer, in the file's order."""
    params, state = file.network("weights")
    density = float(file.arrays["densities"][i])
    network = (file.model, params, state, masks.ones_like(params))
    mask, _ = pruners.prune(jax.random.key(0), METHODS[method], *network, NO_DATA, density)
    counts = {file.kernel_names[k]: kept for k, (kept, _) in masks.layer_counts(mask).items()}
    kept = np.array([counts[str(name)] for name in file.arrays["layer_names"]])
    prefix = f"d{i}/{method}"
    return {
        f"{prefix}/mask": file.pairs(f"{prefix}/mask", mask),
        f"{prefix}/kept": [(kept, file.arrays[f"{prefix}/kept"])],
    }
