"""Training of pruned networks against what their kernel at initialisation predicts."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.config.criteria import PruneConfig
from experiments.config.loading import exact
from experiments.config.options import choice, require
from experiments.config.sections import DataConfig, Experiment
from experiments.errors import user_errors
from experiments.observers import check_kernel, kernel_costs
from experiments.plotting import panels, style
from experiments.plotting.saving import save
from experiments.protocols.protocol import Protocol
from experiments.store import Store
from ntk_prune import data, masks
from ntk_prune.compiling import jit_once
from ntk_prune.models import mlp
from ntk_prune.models.mlp import ACTIVATIONS
from ntk_prune.ntk import empirical_ntk, gradient_flow
from ntk_prune.pruners import prune
from ntk_prune.rng import stream
from ntk_prune.types import Array, Mask, Model, Params, State


@dataclasses.dataclass(frozen=True)
class KernelPrediction(Experiment):
    """Full-batch training of pruned networks against the closed form of their kernel's flow."""

    protocol: ClassVar = "kernel_prediction"
    inert: ClassVar = {
        "data.augment": "the images are taken as they are",
        "prune.density": "densities stand in its place",
    }

    data: DataConfig = DataConfig()
    """The images; the loss is the squared distance to centred one-hot labels."""
    prune: PruneConfig = PruneConfig("random", density=1.0)
    """The criterion; its density is replaced by each of ``densities``."""
    widths: tuple[int, ...] = (64, 256, 1024)
    """Units of the two hidden layers; one network each."""
    activation: str = "relu"
    """Activation of the hidden layers."""
    densities: tuple[float, ...] = (1.0, 0.2, 0.05)
    """Kept fractions of the prunable weights."""
    num_images: int = 100
    """Training images, and as many test images."""
    num_steps: int = 400
    """Steps of full-batch gradient descent."""
    step_size: float = 0.1
    """Learning rate as a share of 2 n / (largest eigenvalue), where descent turns unstable."""

    def __post_init__(self):
        super().__post_init__()
        choice("activation", self.activation, ACTIVATIONS)
        for field in ("widths", "densities"):
            values = getattr(self, field)
            require(len(values) > 0 and min(values) > 0, field, values, "positive numbers")
        require(max(self.densities) <= 1, "densities", self.densities, "numbers in (0, 1]")
        for field in ("num_images", "num_steps"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")
        require(0 < self.step_size < 1, "step_size", self.step_size, "a number in (0, 1)")
        require(self.prune.control in ("none", "invert"), "prune.control", self.prune.control,
                "none or invert: the network is trained as it is pruned")  # fmt: skip
        require(self.prune.name != "none" or set(self.densities) == {1.0}, "densities",
                self.densities, "1 alone where prune.name is none")  # fmt: skip


POINTS = 60  # times at which losses are compared, evenly spaced in the logarithm


def kernel_prediction(config: KernelPrediction, store: Store) -> None:
    """One file per width and density, then the figure."""
    with user_errors("data"):
        dataset = load_images(config)
    image = factories.example(config.data, dataset)
    with user_errors("widths"):
        narrowest, widest = (
            mlp((width, width), dataset.num_classes, config.activation)
            for width in (min(config.widths), max(config.widths))
        )
        factories.check_memory("the widest", factories.count_weights(widest, image))
    with user_errors("prune"):
        pruner = factories.make_pruner(config.prune)
        factories.check_paths(pruner, narrowest, image)
    check_kernel("num_images", widest, image, config.num_images)
    params, _ = jax.eval_shape(narrowest.init, jax.random.key(0), image)
    factories.check_densities("densities", config.densities, pruner, params)
    with store.claimed():
        cells = []
        for width, density in itertools.product(config.widths, config.densities):
            name = f"{name_of({'width': width, 'density': density})}.json"
            if not store.has(name):
                store.write_json(name, compare(config, dataset, width, density))
            cells.append(store.read_json(name))
            print(text_of(cells[-1]), flush=True)
        draw_figure(cells, store.path / "kernel_prediction")
        store.finish({f"distance/{name_of(cell)}": cell["distance"][-1] for cell in cells})


def load_images(config: KernelPrediction) -> data.Dataset:
    """The data set. ValueError if either of its parts has too few images."""
    dataset = factories.load_images(config.data)
    least = min(dataset.num_train, len(dataset.y_test))
    require(config.num_images <= least, "num_images", config.num_images, f"at most {least}")
    return dataset


def costs(config: KernelPrediction) -> Iterator[str]:
    """What the kernels of every width will cost: on the training images, and as much on the test
    images against them."""
    with user_errors("data"):
        dataset = load_images(config)
    image = factories.example(config.data, dataset)
    for width in config.widths:
        model = mlp((width, width), dataset.num_classes, config.activation)
        for line in kernel_costs(model, image, config.num_images, config.densities):
            yield f"width {width}, {line}"


def compare(
    config: KernelPrediction, dataset: data.Dataset, width: int, density: float
) -> dict[str, Any]:
    """Losses of the real and the predicted network over time, and how far their outputs are apart.

    ``distance`` is ``|f_t - prediction| / |y - f_0|`` on the test images.
    """
    n = config.num_images
    to_inputs = factories.inputs(config.data, dataset)
    x, z = to_inputs(dataset.x_train[:n]), to_inputs(dataset.x_test[:n])
    y, u = (np.eye(dataset.num_classes)[labels[:n]] - 1 / dataset.num_classes
            for labels in (dataset.y_train, dataset.y_test))  # fmt: skip
    model = mlp((width, width), dataset.num_classes, config.activation)
    params, state, mask = _pruned(config, dataset, model, x[:1], density)

    @jax.jit
    def outputs(params):
        return (model.apply(params, state, x, train=False)[0],
                model.apply(params, state, z, train=False)[0])  # fmt: skip

    f0, g0 = (np.asarray(f, np.float64) for f in outputs(params))
    wide: dict[str, Any] = {"state": state, "mask": mask, "accumulate": "float64"}
    flow = gradient_flow(empirical_ntk(model, params, x, **wide), f0, y)
    cross = empirical_ntk(model, params, z, x, **wide)
    learning_rate = config.step_size * 2 * n / flow.eigenvalues[-1]
    move = _descent(model, state, mask, x, jnp.asarray(y, x.dtype), learning_rate)

    rows = []
    measured = {round(s) for s in np.geomspace(1, config.num_steps, POINTS)}
    for step in range(1, config.num_steps + 1):
        params = move(params)
        if step in measured:
            t = learning_rate * step
            f, g = outputs(params)
            predicted, elsewhere = flow.train(t, y), flow.test(t, g0, cross)
            rows.append(
                (step, t, _loss(f, y), _loss(predicted, y), _loss(g, u), _loss(elsewhere, u),
                 float(np.linalg.norm(g - elsewhere) / np.linalg.norm(u - g0)))
            )  # fmt: skip
    names = ("step", "time", "train", "train_predicted", "test", "test_predicted", "distance")
    columns = {
        name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }
    return {"width": width, "density": density, **columns}


def _pruned(
    config: KernelPrediction, dataset: data.Dataset, model: Model, image: Array, density: float
) -> tuple[Params, State, Mask]:
    """The network at initialisation with its mask, both applied and given."""
    params, state = jit_once(model.init)(stream(config.seed, "init"), image)
    mask = masks.ones_like(params)
    pruner = factories.make_pruner(config.prune)
    if pruner is not None and density < 1:
        batches = factories.score_batches(config.prune, config.data, config.seed, dataset)
        key = stream(config.seed, "mask")
        mask, _ = prune(key, pruner, model, params, state, mask, batches, density)
    return masks.apply(params, mask), state, mask


def _descent(model, state, mask, x, y, learning_rate):
    """One step of gradient descent on ``1/(2n) sum |f(x) - y|^2`` in the kept weights."""

    @jax.jit
    def move(params):
        def loss(params):
            f = model.apply(masks.apply(params, mask), state, x, train=False)[0]
            return jnp.square(f - y).sum() / (2 * len(x))

        return jax.tree.map(lambda p, g: p - learning_rate * g, params, jax.grad(loss)(params))

    return move


def _loss(f: Any, y: np.ndarray) -> float:
    return float(np.square(np.asarray(f) - y).sum() / (2 * len(y)))


def name_of(cell: Mapping[str, Any]) -> str:
    """What no other cell of a run is called."""
    return f"width_{cell['width']}_density_{exact(cell['density'])}"


def text_of(cell: dict[str, Any]) -> str:
    """One line of a cell's end."""
    return (
        f"width {cell['width']}, density {cell['density']:g}: train loss {cell['train'][-1]:.4f} "
        f"(predicted {cell['train_predicted'][-1]:.4f}), test loss {cell['test'][-1]:.4f} "
        f"(predicted {cell['test_predicted'][-1]:.4f}), relative distance "
        f"{cell['distance'][-1]:.3f}"
    )


def draw_figure(cells: list[dict[str, Any]], path: Path) -> None:
    """Losses over time, a row per density and a column per width: trained and predicted."""
    save(losses(cells), path)


@panels.styled
def losses(cells: list[dict[str, Any]]) -> Any:
    """The figure of these cells."""
    widths = sorted({cell["width"] for cell in cells})
    densities = sorted({cell["density"] for cell in cells}, reverse=True)
    figure, axes = panels.grid(len(densities), len(widths), width=2.9, height=2.3, sharey="row")
    for cell in cells:
        _losses_of(axes[densities.index(cell["density"]), widths.index(cell["width"])], cell)
    for ax in axes[-1]:
        ax.set_xlabel("step of gradient descent")
    for ax in axes[:, 0]:
        ax.set_ylabel("squared loss")
        ax.set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=7)
    return figure


def _losses_of(ax: Any, cell: dict[str, Any]) -> None:
    for split, color in zip(("train", "test"), style.COLORS, strict=False):
        ax.plot(cell["step"], cell[split], color=color, label=split)
        ax.plot(cell["step"], cell[f"{split}_predicted"], color=color, linestyle="--",
                label=f"{split}, predicted")  # fmt: skip
    ax.set_xscale("log")
    ax.set_title(f"width {cell['width']}, density {100 * cell['density']:g} %")


PROTOCOL = Protocol(KernelPrediction, kernel_prediction, costs)
