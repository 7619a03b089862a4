"""Small run directories for the tests of the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ntk_prune.checkpoint import save_tree

LAYERS = (("conv/kernel", (3, 3, 1, 4)), ("dense/kernel", (16, 10)))
TOTAL = 36 + 160


def write_run(
    path: Path,
    *,
    method: str = "ntksap",
    density: float = 0.25,
    seed: int = 0,
    control: str = "none",
    accuracy: float = 0.8,
    done: bool = True,
    data: str = "digits",
    kept: tuple[int, int] = (9, 40),
    spectrum: bool = False,
    protocol: str = "prune_and_train",
    model: str = "lenet5",
    **train: Any,
) -> Path:
    """Write a run of two layers and three epochs; returns its path.

    ``accuracy`` is the last mean IoU where the protocol is segmentation.
    """
    path.mkdir(parents=True)
    config = {
        "protocol": protocol,
        "seed": seed,
        "model": {"name": model, "options": {"width": 1, "dtype": None}},
        "data": {"name": data, "data_dir": None, "augment": "none"},
        "prune": {"name": method, "options": {}, "density": density, "control": control},
        "train": {"duration": "3ep", **train},
    }
    if method == "none":
        kept = (36, 160)
    layers = [
        {"name": name, "shape": shape, "kept": k, "total": int(np.prod(shape))}
        for (name, shape), k in zip(LAYERS, kept, strict=True)
    ]
    pruning = {
        "method": method, "control": control, "density": density, "kept": sum(kept),
        "total": TOTAL, "rounds": [], "layers": layers,
        "collapsed": [layer["name"] for layer in layers if layer["kept"] == 0],
    }  # fmt: skip
    records = [
        {"step": 10 * epoch, "epoch": float(epoch), "name": name, "value": value}
        for epoch in (1, 2, 3)
        for name, value in measured(protocol, epoch, accuracy - 0.1 * (3 - epoch)).items()
    ]
    env = {"backend": "cpu", "processor": "Some CPU", "cpu_count": 2, "versions": {"jax": "0.10.2"}}
    timing = {"step": 0, "epoch": 0.0, "name": "prune_seconds", "value": 1.5}
    (path / "config.json").write_text(json.dumps(config, indent=1))
    (path / "pruning.json").write_text(json.dumps(pruning))
    (path / "env.json").write_text(json.dumps(env))
    (path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (path / "timing.jsonl").write_text(json.dumps(timing) + "\n")
    if spectrum:
        values = 10.0 / np.arange(1, 9)
        spectra = {"eigenvalues_dense": values, "eigenvalues_pruned": values / 4}
        save_tree(path / "spectrum.safetensors", spectra)
    if done:
        (path / "DONE").write_text(json.dumps({"test/accuracy": accuracy}))
    return path


def measured(protocol: str, epoch: int, result: float) -> dict[str, float]:
    """What is logged after an epoch; of pixels, more are right than the mean IoU says."""
    if protocol == "segmentation":
        return {"train/loss": 1 / epoch, "test/accuracy": result + 0.05, "test/miou": result}
    return {"train/loss": 1 / epoch, "test/accuracy": result}


def write_sweep(root: Path) -> Path:
    """Two methods, one of them with a control, at two densities, and dense; three seeds each."""
    for seed in range(3):
        wobble = 0.01 * seed
        write_run(root / f"dense/{seed}", method="none", seed=seed, accuracy=0.9 + wobble)
        for density, accuracy in ((0.25, 0.8), (0.05, 0.7)):
            for method, control in (("ntksap", "none"), ("ntksap", "shuffle"), ("snip", "none")):
                write_run(
                    root / f"{method}_{control}_{density}/{seed}", method=method, control=control,
                    density=density, seed=seed, accuracy=accuracy + wobble, spectrum=seed < 2,
                    kept=(9, 40) if density == 0.25 else (0, 10),
                )  # fmt: skip
    return root
