"""How NTK-SAP's finite difference, its derivative and the exact trace rank the weights.

Two questions about the estimators of the same quantity, for a network with kinks and a smooth one:
how far the ranking by finite differences is from that by the exact directional derivative on the
same draws, and how fast each comes, with more draws, to the ranking by the exact trace.
"""

import dataclasses
import itertools
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from experiments import factories
from experiments.config.loading import exact
from experiments.config.options import choice, require
from experiments.config.sections import DataConfig, Experiment
from experiments.errors import user_errors
from experiments.plotting import panels
from experiments.plotting.saving import save
from experiments.protocols.protocol import Protocol
from experiments.store import Store
from ntk_prune import masks
from ntk_prune.models import mlp
from ntk_prune.models.mlp import ACTIVATIONS
from ntk_prune.pruners import ntksap
from ntk_prune.rng import stream
from ntk_prune.types import Batch, Key, Model


@dataclasses.dataclass(frozen=True)
class Estimators(Experiment):
    """Rank correlations between the estimators of NTK-SAP's score, on fully connected networks."""

    protocol: ClassVar = "estimators"
    repeats: ClassVar = ("widths",)
    inert: ClassVar = {"data.augment": "only the shape of the images counts"}

    data: DataConfig = DataConfig()
    """Only the shape of its images and its number of classes count."""
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers."""
    activations: tuple[str, ...] = ("relu", "softplus")
    """Activations to compare."""
    epsilons: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
    """Standard deviations of the perturbation."""
    draws: tuple[int, ...] = (1, 5, 25)
    """Numbers of weight draws."""
    reference_draws: int = 100
    """Draws of the exact trace that the others are compared with."""
    num_examples: int = 100
    """Random inputs per draw."""
    replicates: int = 3
    """Independent repetitions, all drawn from the one seed, for a mean and its interval."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.activations:
            choice("activations", name, ACTIVATIONS)
        require(bool(self.activations), "activations", self.activations, "at least one")
        for field in ("widths", "epsilons", "draws"):
            values = getattr(self, field)
            require(len(values) > 0 and min(values) > 0, field, values, "positive numbers")
        for field in ("reference_draws", "num_examples", "replicates"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")


REFERENCE = 1  # folded into the key of the draws that the reference ranking has to itself


def estimators(config: Estimators, store: Store) -> None:
    """Compare the estimators of every activation and replicate; one file per pair."""
    with user_errors("data"):
        dataset = factories.load_data(config.data)
    image = factories.example(config.data, dataset)
    with user_errors("widths"):
        network = mlp(config.widths, dataset.num_classes)
        factories.check_memory("mlp", factories.count_weights(network, image))
    with store.claimed():
        cells = []
        for activation, replicate in itertools.product(
            config.activations, range(config.replicates)
        ):
            name = f"cell_{activation}_{replicate}.json"
            if not store.has(name):
                model = mlp(config.widths, dataset.num_classes, activation)
                x = np.zeros((1, config.num_examples, *image.shape[1:]), np.float64)
                store.write_json(name, compare(config, model, x, activation, replicate))
            cells += store.read_json(name)
        draw_figure(cells, store.path / "estimators")
        store.finish({"cells": len(cells), **agreement(cells)})
        print_table(cells)


def compare(
    config: Estimators, model: Model, x: np.ndarray, activation: str, replicate: int
) -> list[dict[str, Any]]:
    """Spearman's rank correlations of one network: against epsilon and against the draws."""
    key = jax.random.fold_in(stream(config.seed, "mask"), replicate)
    common = {"activation": activation, "replicate": replicate}
    cells = []
    with jax.enable_x64(True):
        ranking = _Rankings(model, x)
        trace = ranking(jax.random.fold_in(key, REFERENCE), "trace", config.reference_draws)
        for draws in config.draws:
            derivative = ranking(key, "jvp", draws)
            for epsilon in config.epsilons:
                difference = ranking(key, "finite_difference", draws, epsilon)
                for against, other in (("jvp", derivative), ("trace", trace)):
                    cells.append(
                        {
                            **common,
                            "estimator": "finite_difference",
                            "against": against,
                            "epsilon": epsilon,
                            "draws": draws,
                            "correlation": correlation(difference, other),
                        }
                    )
            for estimator, scores in (("jvp", derivative), ("trace", ranking(key, "trace", draws))):
                cells.append(
                    {
                        **common,
                        "estimator": estimator,
                        "against": "trace",
                        "epsilon": None,
                        "draws": draws,
                        "correlation": correlation(scores, trace),
                    }
                )
    return cells


def agreement(cells: list[dict[str, Any]]) -> dict[str, float]:
    """Mean rank correlation of difference and derivative over the replicates, by setting."""
    by_name: dict[str, list[float]] = {}
    for cell in cells:
        if cell["against"] == "jvp":
            setting = f"epsilon_{exact(cell['epsilon'])}_draws_{cell['draws']}"
            name = f"difference_against_jvp/{cell['activation']}_{setting}"
            by_name.setdefault(name, []).append(cell["correlation"])
    return {name: float(np.mean(values)) for name, values in by_name.items()}


class _Rankings:
    """Scores of the prunable weights of a dense network, as one vector."""

    def __init__(self, model: Model, x: np.ndarray):
        self.model, self.batches = model, Batch(x, np.zeros(x.shape[:2], int))
        self.params, self.state = model.init(jax.random.key(0), x[0])
        self.params = jax.tree.map(lambda p: p.astype(x.dtype), self.params)

    def __call__(self, key: Key, estimator: Any, draws: int, epsilon: float = 0.01) -> np.ndarray:
        pruner = ntksap(num_draws=draws, estimator=estimator, epsilon=epsilon)
        mask = masks.ones_like(self.params)
        scores = pruner.score(key, self.model, self.params, self.state, mask, self.batches)
        return np.concatenate([np.ravel(s) for _, s in masks.leaves(scores)])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation."""
    from scipy.stats import spearmanr  # 0.8 s that other protocols need not wait

    result: Any = spearmanr(a, b)
    return float(result.statistic)


def print_table(cells: list[dict[str, Any]]) -> None:
    """Means with Student-t intervals over the replicates."""
    for row in _summary(cells).to_dict("records"):
        epsilon = "" if row["epsilon"] == 0 else f" epsilon {row['epsilon']:g}"
        print(
            f"{row['activation']:<9} {row['estimator']}{epsilon}, {row['draws']} draws, against "
            f"{row['against']}: {row['mean']:.4f} +- {row['half']:.4f} (n = {row['n']})"
        )


def _summary(cells: list[dict[str, Any]]) -> Any:
    """One row per setting: mean, half width of the 95 % interval (0 for one replicate), n."""
    import pandas as pd

    from experiments.plotting.statistics import mean_interval

    frame: Any = pd.DataFrame(cells).fillna({"epsilon": 0.0})
    rows = []
    keys = ["activation", "estimator", "against", "epsilon", "draws"]
    for values, group in frame.groupby(keys, sort=False):
        mean, half, n = mean_interval(group["correlation"])
        rows.append(
            {**dict(zip(keys, values, strict=True)), "mean": mean, "half": half or 0.0, "n": n}
        )
    return pd.DataFrame(rows)


def draw_figure(cells: list[dict[str, Any]], path: Path) -> None:
    """Left: finite difference against derivative over epsilon. Right: all against the trace."""
    save(correlations(_summary(cells)), path)


@panels.styled
def correlations(table: Any) -> Any:
    """The figure of a ``_summary``."""
    activations = list(dict.fromkeys(table["activation"]))
    figure, axes = panels.grid(len(activations), 2, width=4.0, height=2.6, sharey="col")
    for (left, right), activation in zip(axes, activations, strict=True):
        rows = table[table["activation"] == activation]
        _over_epsilon(left, rows[rows["against"] == "jvp"])
        _over_draws(right, rows[rows["against"] == "trace"])
        left.set(title=f"{activation}: difference against derivative, same draws")
        right.set(title=f"{activation}: each against the trace, other draws")
        left.set(xlabel="epsilon (standard deviation)", ylabel="rank correlation")
        right.set(xlabel="weight draws R")
    axes[0, 0].set_ylim(0, 1.02)
    axes[0, 1].set_ylim(bottom=0)
    return figure


def _over_epsilon(axes: Any, rows: Any) -> None:
    for i, (draws, line) in enumerate(rows.groupby("draws")):
        axes.errorbar(
            line["epsilon"], line["mean"], line["half"], color=f"C{i}", marker="o",
            markersize=3.5, capsize=2, label=f"R = {draws}",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.legend(fontsize=7)


def _over_draws(axes: Any, rows: Any) -> None:
    labels = {
        "finite_difference": "difference, epsilon {:g}",
        "jvp": "derivative",
        "trace": "trace",
    }
    for i, ((estimator, epsilon), line) in enumerate(
        rows.groupby(["estimator", "epsilon"], sort=False)
    ):
        axes.errorbar(
            line["draws"], line["mean"], line["half"], color=f"C{i}", marker="o",
            markersize=3.5, capsize=2, label=labels[estimator].format(epsilon),
        )  # fmt: skip
    axes.set_xscale("log")
    axes.legend(fontsize=7)


PROTOCOL = Protocol(Estimators, estimators)
