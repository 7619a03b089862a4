"""Train dense networks, several as one program, and keep chosen weights."""

import dataclasses
import functools
from typing import ClassVar

from experiments.config.sections import Replicated, parse_duration
from experiments.driver import TrainingJob, train_all
from experiments.errors import UserError
from experiments.factories import Recipe
from experiments.plotting.curves import learning_curves
from experiments.plotting.saving import save
from experiments.protocols.protocol import Protocol
from experiments.store import Store


@dataclasses.dataclass(frozen=True)
class Train(Replicated):
    """Train dense networks and keep chosen weights."""

    protocol: ClassVar = "train"

    save: tuple[str, ...] = ()
    """When the whole state is kept, as epochs ('2ep') or iterations ('500it')."""

    def __post_init__(self):
        super().__post_init__()
        for duration in self.save:
            parse_duration(duration, "save")

    def trainings(self):
        return [(self, self.replicates)]


CURVES = ("train/loss", "test/loss", "train/accuracy", "test/accuracy")


def train(config: Train, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped.

    Replicate ``r`` has the directory ``replicate_r``; a kept state is ``step_<step>`` in it.
    """
    recipe = Recipe(config)
    keep = {recipe.steps(duration): duration for duration in config.save}
    end = recipe.steps(config.train.duration)
    late = [duration for step, duration in keep.items() if step > end]
    if late:
        raise UserError(f"save: {', '.join(late)} comes after {config.train.duration}, the end")
    with store.claimed():
        jobs = [
            TrainingJob(
                store.within(f"replicate_{replicate}"),
                config.seed + replicate,
                functools.partial(recipe.initial, config.seed + replicate),
            )
            for replicate in range(config.replicates)
        ]
        names = {f"step_{step}": step for step in keep}
        train_all(recipe, jobs, store, "replicates", names)
        draw_figure(store, jobs)
        done = [job.store.read_json("DONE") for job in jobs]
        numbers = {"step": end, "test/accuracy": [d["test/accuracy"] for d in done]}
        store.finish(numbers)
        print(f"{store.path}: {numbers}")


def draw_figure(store: Store, jobs: list[TrainingJob]) -> None:
    """Learning curves as PNG in the run directory."""
    curves = {name: [job.store.logged(name) for job in jobs] for name in CURVES}
    save(learning_curves(curves), store.path / "learning_curves")


PROTOCOL = Protocol(Train, train)
