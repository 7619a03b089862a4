"""A lottery small enough to be run many times."""

from pathlib import Path

import jax

from experiments import run
from experiments.config import DataConfig, ModelConfig, TrainConfig
from experiments.config.options import make_options
from experiments.protocols.lottery.config import Lottery
from ntk_prune import masks
from ntk_prune.checkpoint import load_tree
from ntk_prune.models import MODELS

FILE = "tests/experiments/lottery_problem.py"


def model(name: str = "mlp", **options) -> ModelConfig:
    return ModelConfig(name, make_options(MODELS[name], options or {"widths": (12, 8)}))


def get_config(preset: str = "") -> Lottery:
    """Two levels of two replicates, five steps an epoch; ``resnet`` has residual blocks."""
    resnet = model("resnet", depth=14, width=2)
    return Lottery(
        model=resnet if preset == "resnet" else model(),
        data=DataConfig("digits"),
        train=TrainConfig(duration="2ep", batch_size=280, learning_rate=0.1, schedule="constant"),
        levels=2,
        replicates=1 if preset == "resnet" else 2,
        rewind="3it",
    )


def lottery(workdir: Path, *words: str, preset: str = "") -> Path:
    """Run it; words are flags without ``--config.``."""
    flags = [f"--config.{word}" for word in words]
    source = f"{FILE}:{preset}" if preset else FILE
    assert run.main(["--config", source, "--workdir", str(workdir), *flags]) == 0
    return workdir


def part(workdir: Path, replicate: int, level: int) -> Path:
    return workdir / f"replicate_{replicate}/level_{level}"


def load(directory: Path, name: str):
    return load_tree(directory / f"{name}.safetensors")


def same(a, b) -> bool:
    """Whether two trees are equal bit for bit."""
    pairs = zip(*map(jax.tree.leaves, (a, b)), strict=True)
    return all(x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in pairs)


def kept(mask) -> int:
    return sum(int(m.sum()) for _, m in masks.leaves(mask))
