"""The stages of a run, for every replicate: spectrum, masks, trainings. Each is done once.

replicate_0/spectrum/               spectrum.json, arrays, point (W*)
replicate_0/<method>/<density>/     mask, pruning.json, overlap.json, certificate.json, its training
replicate_0/dense/                  level 0 of iterative magnitude pruning
replicate_0/slaving/                a dense training from W*, its slaving residual along the way
replicate_0/subspace_bulk/          one whose updates are projected off the fast directions
"""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp

from experiments import factories
from experiments.driver import TrainingJob, train_all, train_named
from experiments.errors import UserError, user_errors
from experiments.protocols.imc import spectrum
from experiments.protocols.imc.config import IMP, Imc
from experiments.protocols.imc.slaving import SlavingTracker, slaved_gradient
from experiments.pruning import write_mask
from experiments.store import Store
from ntk_prune import masks, training
from ntk_prune.inertial.one_shot import mask_overlap
from ntk_prune.inertial.point import Point, approximate_minimum
from ntk_prune.inertial.reduced import projected, reduced_start, slaved
from ntk_prune.landscape import MaskedLoss
from ntk_prune.losses import LOSSES
from ntk_prune.pruners import PRUNERS, prune
from ntk_prune.pruners.imc import imc
from ntk_prune.rng import stream
from ntk_prune.training import TrainState
from ntk_prune.types import Array, Batch, Mask, Pruner, Scores


def scored_once(pruner: Pruner) -> Pruner:
    """``pruner``, which scores once whatever the density if it has one round."""
    if pruner.num_rounds > 1:
        return pruner
    known: list[Scores] = []

    def score(*inputs: Any) -> Scores:
        if not known:
            known.append(pruner.score(*inputs))
        return known[0]

    return pruner._replace(score=score)


class Networks:
    """The networks of a config in a run directory. UserError says what does not fit."""

    def __init__(self, config: Imc, store: Store):
        self.config, self.store = config, store
        self.recipe = factories.Recipe(config)
        names = config.imc_methods()
        self.pruners: dict[str, Pruner] = {name: self._imc(*names[name]) for name in names}
        self.pruners |= {name: PRUNERS[name]() for name in config.others if name != IMP}
        with user_errors("others"):
            for pruner in self.pruners.values():
                factories.check_paths(pruner, self.recipe.model, self.recipe.example)
        for replicate in range(config.replicates):
            self.batches(replicate)
        factories.check_densities("densities", config.densities, None, self.recipe.shapes[0])

    def _imc(self, reading, ranking) -> Pruner:
        c = self.config
        return imc(
            reading=reading,
            coordinates=ranking,
            directions=c.spectrum.directions,
            num_probes=c.spectrum.diagonal_probes,
            steps=c.point.steps,
            learning_rate=c.point.learning_rate,
            momentum=c.point.momentum,
        )

    @functools.cache  # noqa: B019 (a handful of them, as long as the run)
    def batches(self, replicate: int) -> Batch:
        """The fixed images of the spectrum and of all criteria."""
        c = self.config
        return factories.score_batches(c.point, c.data, self.seed(replicate), self.recipe.dataset)

    def images(self) -> Array:
        """The images of the first replicate ``[n, ...]``."""
        x = self._stacked(0).x[:]
        return x.reshape(-1, *x.shape[2:])

    def seed(self, replicate: int) -> int:
        """The seed of a replicate."""
        return self.config.seed + replicate

    def part(self, replicate: int, name: str) -> Store:
        """A directory of a replicate."""
        return self.store.within(f"replicate_{replicate}/{name.replace(' ', '_')}")

    def initial(self, replicate: int) -> TrainState:
        """W0."""
        return self.recipe.initial(self.seed(replicate))

    def point(self, replicate: int) -> Point:
        """W*, as ``measure`` wrote it."""
        saved = self.part(replicate, "spectrum").load("point")
        return Point(saved["params"], saved.get("state", {}))

    def loss(self, replicate: int, point: Point) -> MaskedLoss:
        """The loss about W*, on the fixed images."""
        return MaskedLoss(
            self.recipe.model,
            *point,
            masks.ones_like(point.params),
            self._stacked(replicate),
            batch_norm="running",
            loss=LOSSES[self.config.train.loss],
        )

    @functools.cache  # noqa: B019 (as batches)
    def _stacked(self, replicate: int) -> Batch:
        """The images normalised and in memory. UserError where they do not fit."""
        x, y = self.batches(replicate)
        try:
            return Batch(jnp.stack([jnp.asarray(batch) for batch in x]), y)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"point.num_examples: {len(y)} batches do not fit: {reason}") from None

    def measure(self, replicate: int) -> None:
        """Train to W* and measure the spectrum there."""
        part = self.part(replicate, "spectrum")
        if part.has("spectrum.json"):
            return
        start, p = self.initial(replicate), self.config.point
        optimizer = training.OPTIMISERS["sgd"](p.learning_rate, momentum=p.momentum)
        point = approximate_minimum(
            self.recipe.model, start.params, start.model_state, start.mask,
            self._stacked(replicate), optimizer, p.steps,
        )  # fmt: skip
        part.save("point", point._asdict())
        key = jax.random.fold_in(stream(self.seed(replicate), "score"), 1)
        measured = spectrum.measure(key, self.loss(replicate, point), self.config)
        part.save("arrays", measured.arrays)
        part.write_json("spectrum.json", measured.numbers)
        print(f"replicate {replicate}: spectrum of {measured.numbers['size']} weights", flush=True)

    def densities(self, replicate: int, method: str) -> dict[str, float]:
        """The densities of a method by name. UserError where ``strict`` refuses one."""
        c = self.config
        by_name = {f"{density!r}": density for density in sorted(c.densities, reverse=True)}
        if method not in c.imc_methods():
            return by_name
        numbers = self.part(replicate, "spectrum").read_json("spectrum.json")
        reading, _ = c.imc_methods()[method]
        if c.strict:
            with user_errors("densities"):
                for density in by_name.values():
                    spectrum.check_density(numbers, density, reading)
        derived = spectrum.rates(numbers, reading)
        total = sum(leaf.size for _, leaf in masks.leaves(self.recipe.shapes[0]))
        usable = {n: d for n, d in derived.items() if n in c.rates and round(d * total) >= 1}
        return by_name | {name: min(density, 1.0) for name, density in usable.items()}

    def prune(self, replicate: int) -> None:
        """Find the masks of all criteria but iterative pruning, by their own density."""
        start = self.initial(replicate)
        for method, pruner in self.pruners.items():
            pruner = scored_once(pruner)
            for name, density in self.densities(replicate, method).items():
                part = self.part(replicate, f"{method}/{name}")
                if part.has("certificate.json"):
                    continue
                began = time.perf_counter()
                mask, info = prune(
                    stream(self.seed(replicate), "mask"), pruner, self.recipe.model, start.params,
                    start.model_state, start.mask, self._stacked(replicate), density,
                )  # fmt: skip
                about = {"method": method, "density": density}
                seconds = time.perf_counter() - began
                write_mask(part, self.recipe, mask, info, seconds, **about)
                self._compare_with_spectrum(replicate, part, mask)
                print(f"replicate {replicate}: {method} at density {density:.4g}", flush=True)

    def _compare_with_spectrum(self, replicate: int, part: Store, mask: Mask) -> None:
        """How much of the top eigenspace at W* the mask keeps, against chance, and whether it parts
        slow coordinates from fast ones."""
        loss = self.loss(replicate, self.point(replicate))
        arrays = self.part(replicate, "spectrum").load("arrays")
        overlap = mask_overlap(mask, loss.coordinates, arrays["top_vectors"])
        part.write_json("overlap.json", overlap._asdict())
        key = jax.random.fold_in(stream(self.seed(replicate), "score"), 2)
        certified = spectrum.mask_certificate(key, loss, arrays, mask, self.config)
        part.write_json("certificate.json", certified)

    def train(self) -> None:
        """Train the masks of all criteria but iterative pruning."""
        together: dict[str, TrainingJob] = {}
        for replicate in range(self.config.replicates):
            for method in self.pruners:
                for name in self.densities(replicate, method):
                    part = self.part(replicate, f"{method}/{name}")
                    if method in self.config.imc_methods() and self.config.rest != "zeroed":
                        self._train_reduced(replicate, part)
                        continue
                    start = functools.partial(self._start, replicate, part)
                    job = TrainingJob(part, self.seed(replicate), start)
                    together[str(part.path.relative_to(self.store.path))] = job
        train_named(self.recipe, together, self.store, "masks", at_once=self.config.at_once)

    def _start(self, replicate: int, part: Store) -> TrainState:
        origin = self._origin(replicate)
        return training.create(*origin, part.load("mask"), self.recipe.optimizer)

    def _origin(self, replicate: int) -> Point:
        """Where kept weights start."""
        start = self.initial(replicate)
        at_minimum = self.config.kept_from == "minimum"
        return self.point(replicate) if at_minimum else Point(start.params, start.model_state)

    def _train_reduced(self, replicate: int, part: Store) -> None:
        """Train the kept weights while the others stay at W*, or are slaved to them."""
        c, mask, point = self.config, part.load("mask"), self.point(replicate)
        rule, observers = training.masked_updates(self.recipe.optimizer, mask), []
        if c.rest == "slaved":
            loss = self.loss(replicate, point)
            rule = slaved(self.recipe.optimizer, mask, loss.value, c.slaved_steps)
            observers = [functools.partial(slaved_gradient, loss, mask)]
        recipe = self.recipe.with_optimizer(rule)
        params = reduced_start(self._origin(replicate).params, point.params, mask, c.rest)

        def start() -> TrainState:
            ones = masks.ones_like(params)
            return training.create(params, point.state, ones, recipe.optimizer)

        stage = str(part.path.relative_to(self.store.path))
        job = TrainingJob(part, self.seed(replicate), start, observers)
        train_all(recipe.training_at_once(1), [job], self.store, stage)

    def train_iteratively(self) -> None:
        """Iterative magnitude pruning: the densities are its levels, rewound to W0."""
        levels = [1.0, *sorted(self.config.densities, reverse=True)]
        for before, density in zip([None, *levels], levels, strict=False):
            jobs = {}
            for replicate in range(self.config.replicates):
                part = self._level(replicate, density)
                if before is not None and not part.has("certificate.json"):
                    self._prune_level(replicate, before, density)
                start = functools.partial(self._start_level, replicate, density)
                jobs[f"replicate_{replicate}"] = TrainingJob(part, self.seed(replicate), start)
            stage = f"level_{density!r}"
            train_named(self.recipe, jobs, self.store, stage, at_once=self.config.at_once)

    def _level(self, replicate: int, density: float) -> Store:
        return self.part(replicate, "dense" if density == 1.0 else f"{IMP}/{density!r}")

    def _prune_level(self, replicate: int, before: float, density: float) -> None:
        trained, part = self._level(replicate, before), self._level(replicate, density)
        params = trained.load("params_final")["params"]
        scores = masks.only_prunable(jax.tree.map(jnp.abs, params))
        mask = masks.keep_top(scores, trained.load("mask"), density)
        write_mask(part, self.recipe, mask, None, 0.0, method=IMP, density=density)
        self._compare_with_spectrum(replicate, part, mask)

    def _start_level(self, replicate: int, density: float) -> TrainState:
        start = self.initial(replicate)
        if density == 1.0:
            return start
        mask = self._level(replicate, density).load("mask")
        return training.create(start.params, start.model_state, mask, self.recipe.optimizer)

    def track_slaving(self, replicate: int) -> None:
        """Train a dense network from W* and measure how far its fast part is from slaved."""
        loss = self.loss(replicate, self.point(replicate))
        arrays = self.part(replicate, "spectrum").load("arrays")
        self._train_dense(replicate, "slaving", self.recipe, [SlavingTracker(loss, arrays)])

    def train_in_subspaces(self, replicate: int) -> None:
        """Train dense networks from W* on the fast directions and off them."""
        loss = self.loss(replicate, self.point(replicate))
        vectors = self.part(replicate, "spectrum").load("arrays")["top_vectors"]
        for side in ("dominant", "bulk"):
            rule = projected(self.recipe.optimizer, loss.coordinates, vectors, side)
            self._train_dense(replicate, f"subspace_{side}", self.recipe.with_optimizer(rule))

    def _train_dense(
        self, replicate: int, name: str, recipe: factories.Recipe, observers: Any = ()
    ) -> None:
        part, point = self.part(replicate, name), self.point(replicate)

        def start() -> TrainState:
            return training.create(*point, masks.ones_like(point.params), recipe.optimizer)

        job = TrainingJob(part, self.seed(replicate), start, observers)
        alone = recipe.training_at_once(1)
        train_all(alone, [job], self.store, f"{name}_{replicate}")
