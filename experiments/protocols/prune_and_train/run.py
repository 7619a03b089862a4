"""Prune at initialisation, train, measure. Every stage leaves its artefact and is not redone."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.driver import Observer, TrainingJob, train_one, train_runs
from experiments.errors import user_errors
from experiments.metrics import in_words
from experiments.observers import KernelTracker, check_kernel, kernel_costs, kernel_of
from experiments.protocols.prune_and_train import curvature
from experiments.protocols.prune_and_train.config import PruneAndTrain
from experiments.pruning import print_table, write_mask
from experiments.store import Store
from ntk_prune import masks, training
from ntk_prune.compiling import jit_once
from ntk_prune.ntk import diagnostics
from ntk_prune.pruners import prune
from ntk_prune.rng import stream
from ntk_prune.types import Batch, Mask, Params, Pruner, State


class Setup(NamedTuple):
    """What a run works with; without a pruner the network stays dense."""

    recipe: factories.Recipe
    pruner: Pruner | None
    batches: Batch | None  # what the pruner sees


def make_setup(config: PruneAndTrain, recipe: factories.Recipe | None = None) -> Setup:
    """Load the data and make every object, but for a recipe that other runs share. UserError says
    what is missing or does not fit."""
    recipe = recipe or factories.Recipe(config)
    for field in ("kernel_images", "hessian_images"):
        factories.check_images(field, getattr(config, field), recipe.dataset)
    if config.kernel_images > 0:
        check_kernel("kernel_images", recipe.model, recipe.example, config.kernel_images)
    with user_errors("prune"):
        pruner = factories.make_pruner(config.prune)
        factories.check_paths(pruner, recipe.model, recipe.example)
    if pruner is None:
        return Setup(recipe, None, None)
    density = config.prune.density
    factories.check_densities("prune.density", [density], pruner, recipe.shapes[0])
    batches = factories.score_batches(config.prune, config.data, config.seed, recipe.dataset)
    return Setup(recipe, pruner, batches)


def prune_and_train(config: PruneAndTrain, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    run_together([(config, store)])


def run_together(runs: Sequence[tuple[PruneAndTrain, Store]]) -> None:
    """The same for runs that differ in seed and pruning alone. Each is pruned by itself; then their
    networks train as one program."""
    setups = [make_setup(runs[0][0])]
    recipe = setups[0].recipe
    setups += [make_setup(config, recipe) for config, _ in runs[1:]]
    starts = [initialise(config, recipe) for config, _ in runs]
    with contextlib.ExitStack() as stack:
        for _, store in runs:
            stack.enter_context(store.claimed())
        jobs = [
            job_of(config, setup, store, *start)
            for (config, store), setup, start in zip(runs, setups, starts, strict=True)
        ]
        for job, numbers in zip(jobs, train_runs(recipe, jobs), strict=True):
            draw_figures(job.store)
            finish(job.store, numbers)


def costs(config: PruneAndTrain) -> Iterator[str]:
    """What the tracked kernels will cost: of the dense network once, then of the pruned one at the
    start and after every epoch."""
    if config.kernel_images > 0:
        recipe, densities = factories.Recipe(config), (1.0, config.prune.density)
        yield from kernel_costs(recipe.model, recipe.example, config.kernel_images, densities)


def initialise(config: PruneAndTrain, recipe: factories.Recipe) -> tuple[Params, State]:
    """The weights to prune and the running statistics."""
    key = stream(config.seed, "init")
    return factories.initialise(config.model, key, recipe.model, recipe.example)


def run_stages(
    config: PruneAndTrain, setup: Setup, store: Store, params: Params, state: State
) -> dict[str, Any]:
    """Prune, track the kernel, train: the numbers at the end."""
    return train_one(setup.recipe, job_of(config, setup, store, params, state))


def job_of(
    config: PruneAndTrain, setup: Setup, store: Store, params: Params, state: State
) -> TrainingJob:
    """Everything before the training, and the network to train."""
    recipe = setup.recipe
    mask = find_mask(config, setup, store, params, state)
    if config.hessian_images and not store.has(curvature.FILE):
        loss = curvature.dense_loss(config, recipe, params, state)
        key = jax.random.fold_in(stream(config.seed, "score"), 1)
        numbers = curvature.compare(key, loss, mask, recipe.dataset.num_classes)
        store.write_json(curvature.FILE, numbers)
    params = starting_weights(config, recipe, params)
    store.save("params_init", params)
    start = training.create(params, state, mask, recipe.optimizer)
    observers = track_kernel(config, recipe, store, params, state, mask)
    return TrainingJob(store, config.seed, lambda: start, observers)


def starting_weights(config: PruneAndTrain, recipe: factories.Recipe, params: Params) -> Params:
    """What training starts from: ``params``, or newly drawn weights for that control."""
    if config.prune.control != "reinit":
        return params
    key = jax.random.fold_in(stream(config.seed, "init"), 1)
    return jit_once(recipe.model.init)(key, recipe.example)[0]


def find_mask(
    config: PruneAndTrain, setup: Setup, store: Store, params: Params, state: State
) -> Mask:
    """The mask of this run: read if it and its table are there, else pruned, tabled and written."""
    if store.has("mask.safetensors") and store.has("pruning.json"):
        return store.load("mask")
    recipe, pruner, batches = setup
    mask, info = masks.ones_like(params), None
    began = time.perf_counter()
    if pruner is not None and batches is not None:
        key, density = stream(config.seed, "mask"), config.prune.density
        mask, info = prune(key, pruner, recipe.model, params, state, mask, batches, density)
        if config.prune.control == "shuffle":
            mask = masks.shuffle(key, mask)
    seconds = time.perf_counter() - began
    about = {
        "method": config.prune.name,
        "control": config.prune.control,
        "density": config.prune.density if info else 1.0,
    }
    print_table(write_mask(store, recipe, mask, info, seconds, **about))
    return mask


def track_kernel(
    config: PruneAndTrain,
    recipe: factories.Recipe,
    store: Store,
    params: Params,
    state: State,
    mask: Mask,
) -> list[Observer]:
    """Write the eigenvalues before and after pruning; what tracks the kernel from here on."""
    if config.kernel_images == 0:
        return []
    model, dataset = recipe.model, recipe.dataset
    x, y = dataset.examples(np.arange(config.kernel_images))
    x = factories.inputs(config.data, dataset)(jnp.asarray(x))
    pruned = kernel_of(model, params, state, mask, x)
    if not store.has("spectrum.safetensors"):
        dense = kernel_of(model, params, state, masks.ones_like(params), x)
        eigenvalues = {
            "eigenvalues_dense": diagnostics.eigenvalues(dense),
            "eigenvalues_pruned": diagnostics.eigenvalues(pruned),
        }
        store.save("spectrum", eigenvalues)
    return [KernelTracker(model, x, y, dataset.num_classes, pruned)]


def finish(store: Store, numbers: dict[str, Any]) -> None:
    """Write and print the final numbers."""
    store.finish(numbers)
    print(f"{store.path}: {in_words({k.removeprefix('test/'): v for k, v in numbers.items()})}")


def draw_figures(store: Store) -> None:
    """Learning curves and layer densities as PNG in the run directory."""
    # matplotlib and pandas are only needed here
    from experiments.protocols.prune_and_train import figures

    figures.draw(store.path)
