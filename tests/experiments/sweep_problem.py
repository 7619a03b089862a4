"""A sweep small enough to be run many times."""

from pathlib import Path

from experiments.config import DataConfig, ModelConfig, PruneConfig, TrainConfig
from experiments.config.options import make_options
from experiments.launch import Sweep, axis, product
from experiments.protocols.prune_and_train.config import PruneAndTrain
from ntk_prune.models import MODELS
from ntk_prune.pruners import PRUNERS

FILE = "tests/experiments/sweep_problem.py"
# What tells when and where a run was made.
OWN = {"env.json", "timing.jsonl", ".lock"}


def get_config(preset: str = "") -> PruneAndTrain:
    """An MLP of 12 units pruned at random, five steps an epoch; ``long`` has 25 epochs."""
    return PruneAndTrain(
        model=ModelConfig("mlp", make_options(MODELS["mlp"], {"widths": (12,)})),
        data=DataConfig("digits"),
        prune=PruneConfig("random", make_options(PRUNERS["random"], {}), density=0.5),
        train=TrainConfig(
            duration="25ep" if preset == "long" else "1ep", batch_size=280, schedule="constant"
        ),
    )


def get_sweep(preset: str = "pair") -> Sweep:
    """Two, four long or sixty cells."""
    cells = {
        "pair": axis("seed", range(2)),
        "long": axis("seed", range(4)),
        "sixty": product(axis("prune.density", [0.2, 0.4, 0.8]), axis("seed", range(20))),
        "broken": [{"seed": 0}, {"seed": 1, "train.batch_size": 5000}],
        "one_broken": [{"seed": 0}, {"seed": 1, "prune.density": 1e-9}],
    }[preset]
    return Sweep(f"{FILE}:long" if preset == "long" else FILE, cells)


def content(workdir: Path) -> dict[str, bytes]:
    """The bytes of every file of a run, by name."""
    files = [p for p in workdir.rglob("*") if p.is_file() and p.name not in OWN]
    return {str(p.relative_to(workdir)): p.read_bytes() for p in files}


def runs(root: Path) -> dict[str, dict[str, bytes]]:
    """The files of all runs below a root, by run directory."""
    done = [path.parent for path in root.rglob("DONE")]
    return {str(run.relative_to(root)): content(run) for run in done}
