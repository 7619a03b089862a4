"""The NTK's eigenvalues at initialisation, dense and under the masks of several criteria."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.config.criteria import PruneConfig
from experiments.config.options import choice, require
from experiments.config.sections import DataConfig, Experiment, ModelConfig
from experiments.errors import user_errors
from experiments.observers import check_kernel, kernel_costs, kernel_of
from experiments.plotting.saving import save
from experiments.plotting.spectra import eigenvalues
from experiments.protocols.protocol import Protocol
from experiments.store import Store
from ntk_prune import masks
from ntk_prune.ntk import diagnostics
from ntk_prune.pruners import PRUNERS, prune
from ntk_prune.rng import stream
from ntk_prune.types import Array, Model


@dataclasses.dataclass(frozen=True)
class Spectrum(Experiment):
    """Eigenvalues of the NTK at initialisation, dense and pruned by several criteria."""

    protocol: ClassVar = "spectrum"
    inert: ClassVar = {"data.augment": "the images are taken as they are"}

    model: ModelConfig = ModelConfig()
    """The network."""
    data: DataConfig = DataConfig()
    """The images."""
    methods: tuple[str, ...] = tuple(PRUNERS)
    """The criteria, each with its default options."""
    density: float = 0.8**6
    """Kept fraction of the prunable weights, in (0, 1]."""
    num_examples: int = 100
    """Training images that the criteria see, in one batch."""
    num_images: int = 100
    """Training images of the kernel; it has num_images x classes eigenvalues."""
    batch_norm: Literal["frozen", "running"] = "frozen"
    """Statistics of the kernel's images under each mask, or the initial running statistics."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.methods:
            choice("methods", name, PRUNERS)
        require(0 < self.density <= 1, "density", self.density, "a number in (0, 1]")
        for field in ("num_examples", "num_images"):
            require(getattr(self, field) >= 1, field, getattr(self, field), "at least 1")


DENSE = "dense"


def spectrum(config: Spectrum, store: Store) -> None:
    """Run the protocol in ``store``; the kernel of a method is not computed twice."""
    dataset, image, model = make_network(config)
    params, state = factories.initialise(config.model, stream(config.seed, "init"), model, image)
    with user_errors("methods"):
        for method in config.methods:
            factories.check_paths(PRUNERS[method](), model, image)
    factories.check_densities("density", [config.density], None, params)
    check_kernel("num_images", model, image, config.num_images)
    scored = PruneConfig(num_examples=config.num_examples, batch_size=config.num_examples)
    batches = factories.score_batches(scored, config.data, config.seed, dataset)
    with store.claimed():
        x, y = dataset.examples(np.arange(config.num_images))
        x = factories.inputs(config.data, dataset)(jnp.asarray(x))
        for method in (DENSE, *config.methods):
            if store.has(f"spectrum_{method}.json"):
                continue
            mask = masks.ones_like(params)
            if method != DENSE:
                key = stream(config.seed, "mask")
                pruner = PRUNERS[method]()
                mask, _ = prune(key, pruner, model, params, state, mask, batches, config.density)
            kernel = kernel_of(model, params, state, mask, x, config.batch_norm)
            if method == DENSE:
                store.save("kernel_dense", {"kernel": kernel})
            dense = store.load("kernel_dense")["kernel"]
            numbers = diagnose(kernel, dense, y, dataset.num_classes)
            store.write_json(f"spectrum_{method}.json", numbers)
            print(f"{method}: " + text_of(numbers), flush=True)
        results = {m: store.read_json(f"spectrum_{m}.json") for m in (DENSE, *config.methods)}
        draw_figure(store, results)
        store.finish({m: {k: v for k, v in n.items() if k != "eigenvalues"}
                      for m, n in results.items()})  # fmt: skip


def make_network(config: Spectrum) -> tuple[factories.Data, Array, Model]:
    """The data, one image, and the network. UserError for what is missing or does not fit."""
    with user_errors("data"):
        dataset = factories.load_data(config.data)
    factories.check_images("num_images", config.num_images, dataset)
    image = factories.example(config.data, dataset)
    with user_errors("model"):
        return dataset, image, factories.make_model(config.model, dataset, image)


def costs(config: Spectrum) -> Iterator[str]:
    """What the dense kernel and a pruned one will cost."""
    _, image, model = make_network(config)
    return kernel_costs(model, image, config.num_images, (1.0, config.density))


def diagnose(
    kernel: np.ndarray, dense: np.ndarray, y: np.ndarray, num_classes: int
) -> dict[str, Any]:
    """What one kernel comes to; the condition number is None when it is singular."""
    values = diagnostics.eigenvalues(kernel)
    try:
        condition = diagnostics.condition_number(kernel)
    except np.linalg.LinAlgError:
        condition = None
    return {
        "eigenvalues": values.tolist(),
        "trace": float(values.sum()),
        "largest": float(values[0]),
        "condition_number": condition,
        "effective_rank": diagnostics.effective_rank(kernel),
        "label_alignment": diagnostics.label_alignment(kernel, y, num_classes),
        "distance_to_dense": diagnostics.relative_distance(kernel, dense),
    }


def text_of(numbers: dict[str, Any]) -> str:
    """One line of numbers."""
    shown = {k: v for k, v in numbers.items() if k != "eigenvalues"}
    return ", ".join(
        f"{k.replace('_', ' ')} {'singular' if v is None else format(v, '.4g')}"
        for k, v in shown.items()
    )


def draw_figure(store: Store, results: dict[str, dict[str, Any]]) -> None:
    """All spectra in one figure."""
    spectra = {method: np.array(numbers["eigenvalues"]) for method, numbers in results.items()}
    save(eigenvalues(spectra), store.path / "spectrum")


PROTOCOL = Protocol(Spectrum, spectrum, costs)
