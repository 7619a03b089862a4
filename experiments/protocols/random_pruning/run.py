"""Random pruning against theory: one resumable stage per Monte-Carlo cell, then the figure."""

import math
import time
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.config.loading import exact
from experiments.errors import user_errors
from experiments.protocols.random_pruning.config import RandomPruning
from experiments.store import Store
from ntk_prune.ntk import random_pruning
from ntk_prune.ntk.concentration import moments, width_law
from ntk_prune.ntk.random_pruning import Convolutional, FullyConnected, Network
from ntk_prune.rng import stream
from ntk_prune.types import Array


class Cell(NamedTuple):
    """One point of an experiment: so many draws of one random network."""

    experiment: str
    network: Network
    num_networks: int

    @property
    def name(self) -> str:
        """Unique within a run, and the name of the cell's file."""
        density = exact(self.network.density)
        return f"{self.experiment}/width_{self.network.width}_density_{density}"

    @property
    def file(self) -> str:
        """Where its kernels are stored."""
        return f"cells/{self.name}.json"


def ntk_theory(config: RandomPruning, store: Store) -> None:
    """Run the protocol in ``store``, from the first cell that is not there yet."""
    plan = list(cells(config))
    check_memory(config, plan)
    with store.claimed():
        for number, cell in enumerate(plan, start=1):
            if not store.has(cell.file):
                start = time.perf_counter()
                run_cell(config, store, cell)
                seconds = time.perf_counter() - start
                store.log(number, 0.0, {"cell_seconds": seconds}, file="timing", cell=cell.name)
                print(f"{number}/{len(plan)} {cell.name} {seconds:.1f} s", flush=True)
        rows = [row(store.read_json(cell.file)) for cell in plan]
        law = fit_law(config, store)
        store.write_json("results.json", {"rows": rows, "law": law})
        draw_figures(config, rows, law, store)
        summary = summarise(config, rows, law)
        store.finish(summary)
        print(f"{store.path}: {summary}")


def check_memory(config: RandomPruning, plan: list[Cell]) -> None:
    """UserError for a network that this machine cannot hold."""
    for cell in plan:
        shapes = cell.network.layer_shapes(inputs(config, cell.network)[0].shape)
        with user_errors(cell.name):
            factories.check_memory("one network", sum(map(math.prod, shapes)))


def costs(config: RandomPruning) -> Iterator[str]:
    """How many networks are drawn, the kernel of a pair of inputs each, and the widest."""
    plan = list(cells(config))
    widest = max(cell.network.width for cell in plan)
    yield (
        f"kernels of {sum(cell.num_networks for cell in plan):,} random networks in {len(plan)} "
        f"cells, up to width {widest:,}"
    )


def cells(config: RandomPruning) -> Iterator[Cell]:
    """All cells, by experiment."""
    yield from sweep_cells(config)
    yield from scaling_cells(config)
    for density in config.law_densities:
        for width in config.law_widths:
            network = FullyConnected(width, config.depth, density)
            yield Cell("law", network, config.law_networks)
    for density in config.cnn_densities:
        for channels in config.cnn_channels:
            network = Convolutional(channels, config.depth, density)
            yield Cell("cnn", network, config.cnn_networks)


def sweep_cells(config: RandomPruning) -> Iterator[Cell]:
    """Every width dense, pruned, and pruned together with the input layer."""
    settings = {
        "sweep_dense": (1.0, False),
        "sweep_pruned": (config.sweep_density, False),
        "sweep_input_pruned": (config.sweep_density, True),
    }
    for width in config.sweep_widths:
        for experiment, (density, prune_input) in settings.items():
            network = FullyConnected(width, config.depth, density, prune_input)
            yield Cell(experiment, network, config.sweep_networks)


def scaling_cells(config: RandomPruning) -> Iterator[Cell]:
    """The width grows as a power of ``1 / density``."""
    for exponent, lowest in zip(
        config.scaling_exponents, config.scaling_min_densities, strict=True
    ):
        for density in config.scaling_densities:
            if density >= lowest:
                width = int(config.scaled_width(density, exponent))
                network = FullyConnected(width, config.depth, density)
                yield Cell(f"scaling_{exact(exponent)}", network, config.scaling_networks)


def inputs(config: RandomPruning, network: Network) -> tuple[Array, Array]:
    """The recorded pair of unit vectors, or a pair of uniform random images for convolutions."""
    rng = np.random.RandomState(config.input_seed)
    if isinstance(network, Convolutional):
        size = config.cnn_image_size
        x1, x2 = rng.random_sample((2, size, size, 3))
    else:
        x1, x2 = (v / np.linalg.norm(v) for v in rng.random_sample((2, config.input_dim)))
    return jnp.asarray(x1, jnp.float32), jnp.asarray(x2, jnp.float32)


def run_cell(config: RandomPruning, store: Store, cell: Cell) -> None:
    """Draw the networks of a cell and store their kernels."""
    x1, x2 = inputs(config, cell.network)
    key = jax.random.fold_in(stream(config.seed, "init"), zlib.crc32(cell.name.encode()))
    values = random_pruning.sample(key, cell.network, x1, x2, cell.num_networks)
    content = {
        "experiment": cell.experiment,
        "width": cell.network.width,
        "density": cell.network.density,
        "limit_pruned": random_pruning.limit(cell.network, x1, x2),
        "limit": cell.network.unpruned_limit(x1, x2),
        "rescaling": random_pruning.rescaling(cell.network),
        "kernels": [float(value) for value in values],  # without rescaling
    }
    store.write_json(cell.file, content)


def row(cell: dict[str, Any]) -> dict[str, Any]:
    """A stored cell as estimates, as it was drawn (``pruned``) and ``rescaled``."""
    kernels = np.asarray(cell["kernels"])
    kept = ("experiment", "width", "density", "limit_pruned", "limit")
    return {
        **{key: cell[key] for key in kept},
        "pruned": moments(kernels, cell["limit_pruned"])._asdict(),
        "rescaled": moments(kernels * cell["rescaling"], cell["limit"])._asdict(),
    }


def fit_law(config: RandomPruning, store: Store) -> dict[str, Any]:
    """The width that a deviation of ``law_level`` takes at each density, and its exponent."""
    of_law = [cell for cell in cells(config) if cell.experiment == "law"]
    stored = [store.read_json(cell.file) for cell in of_law]
    kernels = [np.asarray(cell["kernels"]) * cell["rescaling"] for cell in stored]
    limit = stored[0]["limit"]
    shape = (len(config.law_densities), len(config.law_widths), -1)
    deviations = np.abs(np.reshape(kernels, shape) - limit)
    level = config.law_level * limit
    with user_errors("law_networks, law_widths"):
        law = width_law(deviations, config.law_densities, config.law_widths, level)
    return {
        "level": level,
        "densities": list(config.law_densities),
        "exponent": law.exponent,
        "exponent_interval": list(law.exponent_interval),
        "required_widths": law.required_widths.tolist(),
        "required_widths_interval": law.required_widths_interval.tolist(),
        "rates": law.rates.tolist(),
    }


def summarise(config: RandomPruning, rows: list[dict[str, Any]], law: dict[str, Any]) -> dict:
    """What ``DONE`` holds: the kernels of the widest networks of the sweep, the exponent."""
    widest = max(config.sweep_widths)
    sweep = [row for row in rows if row["experiment"].startswith("sweep")]
    summary: dict[str, Any] = {"limit": sweep[0]["limit"]}
    for cell in (row for row in sweep if row["width"] == widest):
        name = f"{cell['experiment']}/width_{widest}"
        summary[name] = {key: cell["rescaled"][key] for key in ("mean", "sem", "n")}
    summary["required_width_exponent"] = law["exponent"]
    summary["required_width_exponent_interval"] = law["exponent_interval"]
    return summary


def draw_figures(
    config: RandomPruning, rows: list[dict[str, Any]], law: dict[str, Any], store: Store
) -> None:
    """``random_pruning_theory.png`` in the run directory."""
    # matplotlib is only needed here
    from experiments.protocols.random_pruning import figures

    figures.draw(rows, law, config.law_widths, store.path)
