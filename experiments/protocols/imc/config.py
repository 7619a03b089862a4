"""The experiment on pruning by an inertial manifold. What is reconstructed: docs/imc.md."""

import dataclasses
from typing import ClassVar, Literal

from experiments.config.options import choice, require
from experiments.config.sections import Replicated
from ntk_prune.inertial.reduced import Rest
from ntk_prune.pruners import PRUNERS
from ntk_prune.pruners.imc import Ranking, Reading

IMP = "imp"
"""Iterative magnitude pruning: train, prune to the next density, rewind to the first step."""

Rate = Literal["plateau_kept", "plateau_pruned", "gap"]


@dataclasses.dataclass(frozen=True)
class PointConfig:
    """The approximate minimum W* and the fixed images on which the spectrum is taken."""

    section: ClassVar = "point"

    steps: int = 10
    """Steps of SGD from W0, cycling through the batches."""
    learning_rate: float = 0.1
    """Learning rate of these steps."""
    momentum: float = 0.9
    """Momentum of these steps."""
    num_examples: int = 500
    """Training images; the Hessian is that of their mean loss, batch norm by running statistics."""
    batch_size: int = 100
    """Images per batch; divides num_examples."""
    balanced: bool = False
    """Take the same number of images from every class."""

    def __post_init__(self):
        require(self.steps >= 0, "point.steps", self.steps, "0 or more")
        require(self.learning_rate > 0, "point.learning_rate", self.learning_rate, "more than 0")
        require(0 <= self.momentum < 1, "point.momentum", self.momentum, "a number in [0, 1)")
        require(self.batch_size >= 1, "point.batch_size", self.batch_size, "at least 1")
        whole = self.num_examples >= 1 and self.num_examples % self.batch_size == 0
        require(whole, "point.num_examples", self.num_examples,
                f"a positive multiple of point.batch_size ({self.batch_size})")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SpectrumConfig:
    """How the spectrum and the remainder are measured."""

    directions: int = 10
    """Fast directions k: top eigenvectors whose leverage ranks coordinates."""
    ends: int = 30
    """Eigenvalues at the upper end, and at the lower, in which gaps are looked for."""
    lanczos_steps: int = 120
    """Hessian products for the ends, at most as many as there are weights."""
    probes: int = 8
    """Random vectors of the density and of the plateau rule; the published codes take 1."""
    probe_steps: int = 50
    """Hessian products for each of them, as the published codes."""
    diagonal_probes: int = 50
    """Random vectors of the Hessian's diagonal."""
    radii: tuple[float, ...] = (0.001, 0.01, 0.1)
    """Balls around W* on which the remainder is bounded from below."""
    random_directions: int = 4
    """Random directions in which it is looked at, beside the gradient and top eigenvectors."""
    certificate_steps: int = 20
    """Lanczos steps of an end of a block of the Hessian, for the certificates of eigenspaces and
    masks; 0 for no certificates."""
    exact_gauss_newton: bool = True
    """Gauss-Newton's top eigenpairs from the NTK of all images; otherwise by Lanczos."""

    def __post_init__(self):
        for name in ("directions", "ends", "random_directions"):
            require(getattr(self, name) >= 1, f"spectrum.{name}", getattr(self, name), "at least 1")
        for name in ("probes", "diagonal_probes", "probe_steps"):
            require(getattr(self, name) >= 2, f"spectrum.{name}", getattr(self, name), "at least 2")
        steps = self.certificate_steps
        require(steps == 0 or steps >= 2, "spectrum.certificate_steps", steps, "0, or at least 2")
        require(self.lanczos_steps > self.ends >= self.directions, "spectrum.ends", self.ends,
                "at least spectrum.directions and fewer than spectrum.lanczos_steps")  # fmt: skip
        radii = self.radii
        positive = bool(radii) and all(0 < r < float("inf") for r in radii)
        require(positive and len(set(radii)) == len(radii), "spectrum.radii", radii,
                "positive numbers, each once")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Imc(Replicated):
    """Spectrum and gap at W*, masks from them and from other criteria, and their training."""

    protocol: ClassVar = "imc"

    point: PointConfig = PointConfig()
    """The approximate minimum."""
    spectrum: SpectrumConfig = SpectrumConfig()
    """The measures there."""
    readings: tuple[Reading, ...] = ("fast", "slow")
    """Keep the directions above the gap (the group's text) or those of the inertial manifold."""
    rankings: tuple[Ranking, ...] = ("leverage", "magnitude")
    """How coordinates are chosen: leverage, rrqr, diagonal, or magnitude (the group's practice)."""
    others: tuple[str, ...] = (IMP, "snip", "ntksap", "px", "random")
    """Criteria to compare with, by default options; imp is iterative magnitude pruning."""
    densities: tuple[float, ...] = (0.2, 0.1, 0.05, 0.02)
    """Kept fractions at which all are compared; the levels of imp."""
    rates: tuple[Rate, ...] = ("plateau_kept", "plateau_pruned", "gap")
    """Densities besides, from the spectrum, for the readings alone: the plateau's share kept, or
    pruned, and what the gap admits, where it does."""
    kept_from: Literal["init", "minimum"] = "init"
    """Kept weights start from W0 or from W*."""
    rest: Rest = "zeroed"
    """Pruned weights of the readings are zero, stay at W*, or are slaved: after every step they go
    to a minimum of the loss on the images of the spectrum, given the kept ones (small networks)."""
    slaved_steps: int = 10
    """Steps of L-BFGS in which slaved weights follow after every step of training."""
    strict: bool = False
    """Refuse a density above what the gap condition admits."""
    slaving: bool = True
    """Measure, while a dense network trains from W*, how far its fast part is from slaved."""
    subspaces: bool = True
    """Train with updates projected on the fast directions, and off them (arXiv 2405.16002)."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.others:
            choice("others", name, [IMP, *(n for n in PRUNERS if n != "imc")])
        for density in self.densities:
            require(0 < density < 1, "densities", density, "numbers in (0, 1)")
        require(self.slaved_steps >= 1, "slaved_steps", self.slaved_steps, "at least 1")
        require(bool(self.densities), "densities", self.densities, "at least one")
        require(bool(self.readings and self.rankings), "readings", self.readings,
                "at least one, and one of rankings")  # fmt: skip

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        of_slaved = () if self.rest == "slaved" else ("slaved_steps",)
        return {**super().idle(), **dict.fromkeys(of_slaved, f"where rest is {self.rest}")}

    def imc_methods(self) -> dict[str, tuple[Reading, Ranking]]:
        """The variants of the criterion by name; magnitude has no reading."""
        methods: dict[str, tuple[Reading, Ranking]] = {
            f"imc {reading} {ranking}": (reading, ranking)
            for ranking in self.rankings
            for reading in self.readings
            if ranking != "magnitude"
        }
        if "magnitude" in self.rankings:
            methods["imc magnitude"] = self.readings[0], "magnitude"
        return methods
