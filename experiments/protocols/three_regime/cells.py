"""The stages of the grid: dense networks, masks, retrainings, measures. Each is done once.

dense/all/seed_0/                      one training; its states at the stopping epochs
dense/batch_size_16/seed_0/            or one training for each temperature
cells/<temperature>/<density>/dense_0/ mask, pruning.json
    retrain_0/                         a retraining
    pair_0_1.json                      what two retrainings are to each other
"""

import functools
import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

from experiments import factories
from experiments.comparison import Comparison
from experiments.config.loading import exact
from experiments.driver import TrainingJob, train_named
from experiments.errors import user_errors
from experiments.observers import check_kernel
from experiments.protocols.three_regime.config import ThreeRegime
from experiments.pruning import write_mask
from experiments.store import Store
from ntk_prune import masks, training
from ntk_prune.losses import LOSSES
from ntk_prune.pruners import prune
from ntk_prune.rng import derived, stream
from ntk_prune.training import TrainState
from ntk_prune.types import Batch, Mask, Params, State


class Cell(NamedTuple):
    """A mask of the grid: the temperature and seed of its dense network, and its density."""

    temperature: float
    density: float
    dense_seed: int

    @property
    def folder(self) -> str:
        """Where it lies in the run."""
        names = exact(self.temperature), exact(self.density)
        return f"cells/{'/'.join(names)}/dense_{self.dense_seed}"


class TrainedNetwork(NamedTuple):
    """A retrained network; ``params`` are multiplied by ``mask``."""

    params: Params
    state: State
    mask: Mask


class Grid:
    """The networks of a config in a run directory, made where they are not yet.

    UserError says what is missing or does not fit, before anything is written.
    """

    def __init__(self, config: ThreeRegime, store: Store):
        self.config, self.store = config, store
        self.retraining = factories.Recipe(config.retraining(), at_once=1, section="retrain")
        self.dense = {
            name: factories.Recipe(stage, at_once=1, section="dense")
            for name, stage in config.dense_stages().items()
        }
        self.pruner = config.prune.make()
        with user_errors("prune"):
            factories.check_paths(self.pruner, self.retraining.model, self.retraining.example)
        with user_errors("measure"):
            self.comparison = Comparison(
                self.retraining.model,
                self.retraining.dataset,
                factories.inputs(config.data, self.retraining.dataset),
                config.measure,
                LOSSES[config.retrain.loss],
            )
        if (images := config.measure.kernel_images) > 0:
            model, example = self.retraining.model, self.retraining.example
            check_kernel("measure.kernel_images", model, example, images)
        factories.check_densities(
            "densities", config.densities, self.pruner, self.retraining.shapes[0]
        )

    @functools.cached_property
    def batches(self) -> Batch:
        """What the criterion sees."""
        c = self.config
        return factories.score_batches(c.prune, c.data, c.seed, self.retraining.dataset)

    def cells(self) -> Iterator[Cell]:
        """All masks, from the hottest dense networks and the lowest density on."""
        c = self.config
        axes = c.temperature.from_hottest(), sorted(c.densities), range(c.dense_seeds)
        return itertools.starmap(Cell, itertools.product(*axes))

    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of retrainings of one mask."""
        return list(itertools.combinations(range(self.config.retrain_seeds), 2))

    def train_dense(self) -> None:
        """Train the dense networks, and keep their states at the temperatures."""
        for name, recipe in self.dense.items():
            keep = {_kept(t): recipe.steps(f"{exact(t)}ep") for t in self._stopping_epochs()}
            jobs = {
                f"dense/{name}/seed_{seed}": TrainingJob(
                    self.store.within(f"dense/{name}/seed_{seed}"),
                    self.config.seed + seed,
                    functools.partial(recipe.initial, self.config.seed + seed),
                )
                for seed in range(self.config.dense_seeds)
            }
            train_named(recipe, jobs, self.store, f"dense_{name}", keep, self.config.at_once)

    def _stopping_epochs(self) -> tuple[float, ...]:
        stopped = self.config.temperature.name == "stopping_epoch"
        return self.config.temperature.from_hottest() if stopped else ()

    def dense_folder(self, temperature: float, seed: int) -> Store:
        """The directory of the dense network of a temperature."""
        kind = self.config.temperature.name
        name = "all" if kind == "stopping_epoch" else f"{kind}_{exact(temperature)}"
        return self.store.within(f"dense/{name}/seed_{seed}")

    def dense_network(self, cell: Cell) -> tuple[Params, State]:
        """The dense network that a cell prunes."""
        part = self.dense_folder(cell.temperature, cell.dense_seed)
        stopped = self.config.temperature.name == "stopping_epoch"
        saved = part.load(_kept(cell.temperature) if stopped else "params_final")
        return saved["params"], saved.get("state", {})

    def prune(self) -> None:
        """Find the masks of all cells."""
        print("dense networks trained; pruning and retraining", flush=True)
        for cell in self.cells():
            part = self.store.within(cell.folder)
            if part.has("mask.safetensors"):
                continue
            began = time.perf_counter()
            params, state = self.dense_network(cell)
            mask, info = prune(
                stream(self.config.seed + cell.dense_seed, "mask"),
                self.pruner,
                self.retraining.model,
                params,
                state,
                masks.ones_like(params),
                self.batches,
                cell.density,
            )
            about = {"method": self.config.prune.name, "density": cell.density}
            write_mask(part, self.retraining, mask, info, time.perf_counter() - began, **about)

    def retrain(self) -> None:
        """Retrain every mask with every retrain seed."""
        jobs = {}
        for r in range(self.config.retrain_seeds):
            seed = derived(self.config.seed, f"retrain_{r}")
            for cell in self.cells():
                folder = f"{cell.folder}/retrain_{r}"
                start = functools.partial(self._start, cell)
                jobs[folder] = TrainingJob(self.store.within(folder), seed, start)
        train_named(self.retraining, jobs, self.store, "retrain", at_once=self.config.at_once)

    def _start(self, cell: Cell) -> TrainState:
        mask = self.store.within(cell.folder).load("mask")
        return training.create(*self.dense_network(cell), mask, self.retraining.optimizer)

    def measure(self) -> None:
        """Measure every pair of retrainings of every mask."""
        for cell in self.cells():
            part = self.store.within(cell.folder)
            todo = [pair for pair in self.pairs() if not part.has(_pair_file(*pair))]
            if todo:
                networks = [self._retrained(part, r) for r in range(self.config.retrain_seeds)]
            for a, b in todo:
                numbers = self.comparison.both(networks[a], networks[b])
                part.write_json(_pair_file(a, b), numbers)
                lmc = numbers["connectivity"]["lmc"]
                print(f"{cell.folder}, retrainings {a} and {b}: LMC {lmc:+.4f}", flush=True)

    def _retrained(self, part: Store, r: int) -> TrainedNetwork:
        saved = part.within(f"retrain_{r}").load("params_final")
        return TrainedNetwork(saved["params"], saved.get("state", {}), part.load("mask"))


def _kept(epoch: float) -> str:
    return f"epoch_{exact(epoch)}"


def _pair_file(a: int, b: int) -> str:
    return f"pair_{a}_{b}.json"
