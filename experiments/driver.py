"""The only code that trains: networks of one recipe, several as one program or one by one.

The directory of a network holds ``mask``, ``metrics.jsonl``, the states that are kept,
``params_final`` and, at the very end, ``DONE``. What trains together shares its checkpoints, which
are removed at the end.
"""

import contextlib
import functools
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from experiments.errors import user_errors
from experiments.factories import Program, Recipe, choose_at_once
from experiments.joint import OwnCheckpoints, apart, together
from experiments.metrics import check_log, final_numbers, in_words, log_epoch, log_test
from experiments.signals import held_back
from experiments.stages import Numbers, done_once
from experiments.store import Store
from ntk_prune import training
from ntk_prune.checkpoint import Checkpoints
from ntk_prune.training import TrainState
from ntk_prune.types import Mask

LOG = logging.getLogger(__name__)

Observer = Callable[[TrainState], dict[str, float]]
"""Numbers by name of a network at the start and after every epoch, for its ``metrics.jsonl``."""

CHECKPOINTS = Path("checkpoints/training")
"""Where a run that trains one network has its checkpoints."""

Keep = Mapping[str, int | Literal["start"]]
"""The names under which the whole state is written, and the steps after which it is."""


class TrainingJob(NamedTuple):
    """One network to train.

    Attributes:
        store: Its directory.
        seed: Decides the order and the augmentation of its data: jobs that share it see the same
            batches.
        start: Makes the state that it starts from, mask included; called where it is not trained.
        observers: What is measured of it along the way.
    """

    store: Store
    seed: int
    start: Callable[[], TrainState]
    observers: Sequence[Observer] = ()


def train_all(
    recipe: Recipe,
    jobs: Sequence[TrainingJob],
    store: Store,
    stage: str,
    keep: Keep | None = None,
    until: int | None = None,
) -> None:
    """Train what is not trained yet, as many networks at once as the recipe says, up to ``DONE``.

    Args:
        recipe: How they are trained.
        jobs: The networks; neighbours train together, and those start at one step.
        store: Has the checkpoints while something trains.
        stage: What is trained, unique within ``store``.
        keep: The states to write.
        until: The step to stop at; None for the end of the recipe.
    """
    checkpoints = store.path / "checkpoints" / stage
    for first in range(0, len(jobs), recipe.at_once):
        group = jobs[first : first + recipe.at_once]
        make = functools.partial(
            _train_together, recipe, group, [checkpoints / str(first)], keep or {}, until
        )
        done_once([job.store for job in group], make)
    _remove(checkpoints)


def train_named(
    recipe: Recipe,
    jobs: Mapping[str, TrainingJob],
    store: Store,
    stage: str,
    keep: Keep | None = None,
    at_once: int | None = None,
) -> None:
    """Train jobs in groups that a run which was killed, or has got more jobs, forms again.

    Args:
        recipe: How they are trained.
        jobs: The networks, under names that stay the same from run to run.
        store: Keeps ``groups_<stage>.json`` and, while something trains, the checkpoints.
        stage: What is trained, unique within ``store``.
        keep: The states to write.
        at_once: How many train as one program; None: as many as pay off on this backend.
    """
    size = at_once or choose_at_once(recipe.shapes[0], len(jobs))
    for number, group in enumerate(_groups(store, stage, list(jobs), size)):
        sized = recipe.training_at_once(len(group))
        train_all(sized, [jobs[name] for name in group], store, f"{stage}_{number}", keep)


def _groups(store: Store, stage: str, names: Sequence[str], size: int) -> list[list[str]]:
    """Names of the jobs that train together; groups that were formed once stay."""
    file = f"groups_{stage}.json"
    groups = store.read_json(file)["groups"] if store.has(file) else []
    placed = {name for group in groups for name in group}
    new = [name for name in names if name not in placed]
    groups += [new[i : i + size] for i in range(0, len(new), size)]
    store.write_json(file, {"groups": groups})
    return groups


def train_one(recipe: Recipe, job: TrainingJob) -> Numbers:
    """Train one network unless it is trained. Returns the numbers for its ``DONE``, which is left
    to the caller: a run may draw its figures before."""
    (numbers,) = train_runs(recipe, [job])
    return numbers


def train_runs(recipe: Recipe, jobs: Sequence[TrainingJob]) -> list[Numbers]:
    """The same for the networks of several runs, as one program. Each has its own checkpoints, as
    if it trained alone."""
    checkpoints = [job.store.path / CHECKPOINTS for job in jobs]
    numbers = _train_together(recipe, jobs, checkpoints, {}, None)
    for directory in checkpoints:
        _remove(directory)
    return numbers


def _remove(checkpoints: Path) -> None:
    shutil.rmtree(checkpoints, ignore_errors=True)
    with contextlib.suppress(OSError):  # there are those of other trainings, or none
        checkpoints.parent.rmdir()


def save_state(store: Store, name: str, state: TrainState) -> None:
    """Write a whole training state but for its mask: it can be gone on with, bit for bit."""
    moments = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(state.opt_state))}
    parts = {"step": state.step, "params": state.params, "state": state.model_state}
    store.save(name, {**parts, "optimizer": moments})


def load_state(
    store: Store, name: str, mask: Mask, optimizer: optax.GradientTransformation
) -> TrainState:
    """The state that ``save_state`` wrote, with its mask and for its optimiser."""
    saved = store.load(name)
    moments = saved.get("optimizer", {})
    structure = jax.tree.structure(jax.eval_shape(optimizer.init, saved["params"]))
    leaves = [moments[str(i)] for i in range(len(moments))]
    return TrainState(
        jnp.asarray(saved["step"]),
        saved["params"],
        saved.get("state", {}),
        jax.tree.unflatten(structure, leaves),
        mask,
    )


def _train_together(
    recipe: Recipe,
    jobs: Sequence[TrainingJob],
    directories: Sequence[Path],
    keep: Keep,
    until: int | None,
) -> list[Numbers]:
    """Train one group from where a kill stopped it. Returns the numbers of every ``DONE``.

    ``directories`` of checkpoints: one that all share, or one for each.
    """
    end = recipe.num_steps if until is None else until
    if not all(job.store.has("params_final.safetensors") for job in jobs):
        _to_the_end(recipe, jobs, directories, keep, end)
    for job in jobs:
        check_log(job.store, [end])
    return [final_numbers(job.store, job.store.load("params_final")["params"]) for job in jobs]


def _to_the_end(
    recipe: Recipe,
    jobs: Sequence[TrainingJob],
    directories: Sequence[Path],
    keep: Keep,
    end: int,
) -> None:
    """Train one group to its ``params_final``."""
    program = recipe.program(tuple(job.seed for job in jobs))
    starts = [job.start() for job in jobs]
    first = _common_step(starts)
    keep_at = {name: first if step == "start" else step for name, step in keep.items()}
    stops = sorted({end, *(step for step in keep_at.values() if first < step < end)})
    state = together(starts)
    for job, start in zip(jobs, starts, strict=True):
        _prepare(job, start, keep_at)
    shared = len(directories) == 1
    with Checkpoints(directories[0]) if shared else OwnCheckpoints(directories) as checkpoints:
        if checkpoints.latest_step() is not None:
            with user_errors(f"remove {', '.join(map(str, directories))} to train anew"):
                state = checkpoints.restore(state)
        step = int(np.ravel(state.step)[0])
        for job, start in zip(jobs, starts, strict=True):
            job.store.rewind_log(step)
            if step > first:
                epochs = range(0, step + 1, recipe.steps_per_epoch)
                check_log(job.store, [s for s in {first, *epochs, *stops} if first <= s <= step])
            _record_start(recipe, job, start)
            job.store.sync_logs()
        for epoch in _epochs(recipe, program, state, stops):
            state = epoch.state
            _record_epoch(recipe, jobs, epoch, keep_at)
            number = round(epoch.epoch)
            if number % recipe.config.train.checkpoint_every == 0 or epoch.step == end:
                for job in jobs:
                    job.store.sync_logs()
                with held_back():
                    checkpoints.save(epoch.step, state)
    for job, final in zip(jobs, apart(state, len(jobs)), strict=True):
        job.store.save("params_final", {"params": final.params, "state": final.model_state})


def _common_step(starts: Sequence[TrainState]) -> int:
    """The step at which all start. ValueError if there are several."""
    steps = {int(start.step) for start in starts}
    if len(steps) > 1:
        raise ValueError(f"networks that train together start at one step, not at {sorted(steps)}")
    return steps.pop()


def _epochs(
    recipe: Recipe, program: Program, state: TrainState, stops: Sequence[int]
) -> Iterator[training.Epoch]:
    """Every epoch to the last of the steps ``stops``, cut in two at the others."""
    for stop in stops:
        for epoch in training.fit(state, program.step, program.feed, stop, recipe.learning_rate):
            state = epoch.state
            yield epoch


def _prepare(job: TrainingJob, start: TrainState, keep_at: Mapping[str, int]) -> None:
    if not job.store.has("mask.safetensors"):
        job.store.save("mask", start.mask)
    job.store.load("mask")  # UserError where a power cut damaged it: nothing else may read it
    _keep(job.store, keep_at, start)


def _keep(store: Store, keep_at: Mapping[str, int], state: TrainState) -> None:
    for name, step in keep_at.items():
        if step == int(state.step):
            save_state(store, name, state)


def _record_start(recipe: Recipe, job: TrainingJob, start: TrainState) -> None:
    """Log what is measured of a network before its training, unless that is logged: networks are
    compared by when they learn. The test comes last, and stands for the whole record."""
    if job.store.logged("test/accuracy"):
        return
    job.store.drop_log()
    step = int(start.step)
    epoch = step / recipe.steps_per_epoch
    for observe in job.observers:
        job.store.log(step, epoch, observe(start))
    log_test(job.store, step, epoch, recipe.evaluate(start.params, start.model_state))


def _record_epoch(
    recipe: Recipe, jobs: Sequence[TrainingJob], epoch: training.Epoch, keep_at: Mapping[str, int]
) -> None:
    """Log what every network learnt in an epoch and what is measured of it."""
    losses, accuracies = (np.atleast_1d(v).tolist() for v in (epoch.loss, epoch.accuracy))
    for r, (job, state) in enumerate(zip(jobs, apart(epoch.state, len(jobs)), strict=True)):
        _keep(job.store, keep_at, state)
        test = recipe.evaluate(state.params, state.model_state)
        log_epoch(job.store, epoch, losses[r], accuracies[r], test, networks=len(jobs))
        if len(jobs) == 1:
            log_line(epoch, test, recipe)
        for observe in job.observers:
            job.store.log(epoch.step, epoch.epoch, observe(state))


def log_line(epoch: training.Epoch, test: dict[str, float], recipe: Recipe) -> None:
    """Say what one network learnt in an epoch, and how long the rest of its training takes."""
    images = (recipe.num_steps - epoch.step) * recipe.config.train.batch_size
    left = tqdm.format_interval(images / epoch.images_per_second)
    LOG.info(
        f"epoch {epoch.epoch:g}: loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.4f}, "
        f"{in_words(test)}, {epoch.images_per_second:.0f} images/s, {left} left"
    )
