"""What is measured between two trained networks of one architecture, and of each."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.config.options import require
from experiments.observers import kernel_of
from ntk_prune import landscape, linalg
from ntk_prune.losses import Loss, cross_entropy
from ntk_prune.ntk import diagnostics
from ntk_prune.types import Array, Batch, Mask, Model, Params, State

Numbers = dict[str, Any]
MAX_KERNEL_SIZE = 8192


class Network(Protocol):
    """A trained network; ``params`` are multiplied by ``mask``."""

    @property
    def params(self) -> Params: ...
    @property
    def state(self) -> State: ...
    @property
    def mask(self) -> Mask: ...


@dataclasses.dataclass(frozen=True)
class Settings:
    """On how much of the data two networks are measured, and how finely. The defaults are the
    published ones where the three-regime model has some."""

    points: int = 11
    """Points on the line between the networks, the end points included."""
    batch_size: int = 64
    """Images a batch; the statistics of batch norm on the line depend on it."""
    line_images: int | None = None
    """Training images on the line; None for all."""
    similarity_images: int = 6464
    """Training images, and test images, on which outputs are compared; all if there are fewer."""
    hessian_images: int = 256
    """Training images of the loss whose Hessian is measured; 0 for none."""
    probes: int = 30
    """Random vectors that the trace of the Hessian is estimated with."""
    kernel_images: int = 32
    """Training images of the two kernels; 0 for none."""
    seed: int = 0
    """Seed of the random vectors."""
    at_once: int | None = None
    """Points of the line in one mapped program; None: one by one if there are convolutions and
    only CPUs, else all."""

    def __post_init__(self):
        least = {"points": 2, "similarity_images": 4, "probes": 2, "hessian_images": 0,
                 "kernel_images": 0, "seed": 0}  # fmt: skip
        for field in dataclasses.fields(self):
            value, low = getattr(self, field.name), least.get(field.name, 1)
            require(value is None or value >= low, field.name, value, f"at least {low}")

    def idle(self) -> dict[str, str]:
        """Fields that change nothing beside the others, and why."""
        of_hessian = () if self.hessian_images else ("probes", "seed")
        return dict.fromkeys(of_hessian, "without hessian_images")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The measures of networks of one ``model`` on one data set, each as JSON's values.

    Args:
        model: The network.
        dataset: Its images, with a label each.
        prepare: Raw images to inputs; one object, so that nothing compiles twice.
        settings: How much is measured.
        loss: What is measured on the line and differentiated twice for the Hessian.

    Raises ValueError for a data set or settings that do not do.
    """

    model: Model
    dataset: factories.Data
    prepare: Callable[[Array], Array]
    settings: Settings = Settings()
    loss: Loss = cross_entropy

    def __post_init__(self):
        if np.ndim(self.dataset.examples(np.arange(1))[1]) > 1:
            raise ValueError(
                f"{self.dataset.name} labels every pixel; networks with one label an image are "
                "measured"
            )
        classes, images = self.dataset.num_classes, self.settings.kernel_images
        require(
            images * classes <= MAX_KERNEL_SIZE, "kernel_images", images,
            f"at most {MAX_KERNEL_SIZE // classes} with {classes} classes",
        )  # fmt: skip

    def both(self, a: Network, b: Network) -> Numbers:
        """Everything: ``connectivity``, ``similarity``, ``hessian`` of each, ``ntk``."""
        numbers: Numbers = {
            "connectivity": self.connectivity(a, b),
            "similarity": self.similarity(a, b),
        }
        if self.settings.hessian_images:
            numbers["hessian"] = [self.hessian(network) for network in (a, b)]
        if self.settings.kernel_images:
            numbers["ntk"] = self.kernels(a, b)
        return numbers

    def connectivity(self, a: Network, b: Network) -> Numbers:
        """Loss and error on the line, batch norm estimated anew at every point.

        ``lmc`` is the published value of the training error and ``lmc_index`` its point;
        ``barrier/...`` are the heights of the barriers of each curve.
        """
        size, num_images = self.settings.batch_size, self.settings.line_images
        line = landscape.line(
            self.model,
            (a.params, a.state),
            (b.params, b.state),
            factories.in_order(self.dataset, "train", size, num_images),
            factories.in_order(self.dataset, "test", size),
            statistics=(x for x, _ in factories.in_order(self.dataset, "train", size, num_images)),
            prepare=self.prepare,
            points=self.settings.points,
            at_once=self._at_once(a.params),
            loss=self.loss,
        )
        lmc = landscape.mode_connectivity(line.train_error)
        curves = {name.replace("_", "/"): values for name, values in line._asdict().items()}
        heights = {
            f"barrier/{name}": landscape.barrier_height(values)
            for name, values in curves.items()
            if name != "t"
        }
        lists = {name: values.tolist() for name, values in curves.items()}
        return {"lmc": lmc.value, "lmc_index": lmc.index, **heights, **lists}

    def _at_once(self, params: Params) -> int:
        if self.settings.at_once is not None:
            return self.settings.at_once
        points = self.settings.points
        return factories.choose_at_once(params, points, most=points)

    def similarity(self, a: Network, b: Network) -> Numbers:
        """How alike the outputs are on images of ``train`` and ``test``, in their order, under the
        networks' own running statistics. ``cka`` is that of the softmax, as published."""
        size, n = self.settings.batch_size, self.settings.similarity_images
        return {
            split: self._alike(a, b, factories.in_order(self.dataset, split, size, n))
            for split in ("train", "test")
        }

    def _alike(self, a: Network, b: Network, batches: Iterable[tuple[Array, Array]]) -> Numbers:
        x = [images for images, _ in batches]
        left, right = (
            landscape.outputs(self.model, (network.params, network.state), x, self.prepare)
            for network in (a, b)
        )
        p, q = landscape.softmax(left), landscape.softmax(right)
        return {
            "images": len(left),
            "cka": landscape.linear_cka(p, q),
            "cka/unbiased": landscape.linear_cka(p, q, unbiased=True),
            "cka/logits": landscape.linear_cka(left, right),
            "cka/logits/unbiased": landscape.linear_cka(left, right, unbiased=True),
            "agreement": landscape.agreement(left, right),
            "jensen_shannon": landscape.jensen_shannon(left, right),
            "cosine": landscape.cosine(left, right),
        }

    def hessian(self, network: Network) -> Numbers:
        """Top eigenvalue, and trace with its standard error, of the Hessian in the kept weights.

        Of the mean loss over the first training images, batch norm by the running statistics.
        """
        images = min(self.settings.hessian_images, self.dataset.num_train)
        size = min(self.settings.batch_size, images)
        x, y = self.dataset.examples(np.arange(images // size * size))
        x = self.prepare(jnp.asarray(x))
        batches = Batch(x.reshape(-1, size, *x.shape[1:]), np.asarray(y).reshape(-1, size))
        operator = landscape.MaskedLoss(
            self.model, network.params, network.state, network.mask, batches,
            batch_norm="running", loss=self.loss,
        ).hessian()  # fmt: skip
        key = jax.random.key(self.settings.seed)
        top = linalg.extreme_eigenpairs(key, operator, top=1, bottom=0).top
        trace = linalg.trace(jax.random.fold_in(key, 1), operator, self.settings.probes)
        return {
            "images": batches.y.size,
            "top": float(top.values[0]),
            "top/residual": float(top.residuals[0]),
            "trace": trace.value,
            "trace/sem": trace.sem,
            "trace/n": trace.n,
        }

    def kernels(self, a: Network, b: Network) -> Numbers:
        """Distance, alignment and overlap of top eigenspaces of the NTKs in the kept prunable
        weights, batch norm by the running statistics; as many dimensions as there are classes."""
        images = min(self.settings.kernel_images, self.dataset.num_train)
        x = self.prepare(jnp.asarray(self.dataset.examples(np.arange(images))[0]))
        left, right = (
            kernel_of(self.model, network.params, network.state, network.mask, x, "running")
            for network in (a, b)
        )
        dimensions = self.dataset.num_classes
        return {
            "images": images,
            "relative_distance": diagnostics.relative_distance(right, left),
            "alignment": diagnostics.kernel_alignment(left, right),
            "alignment/centred": diagnostics.kernel_alignment(left, right, centred=True),
            "eigenspace/dimensions": dimensions,
            "eigenspace/overlap": diagnostics.subspace_overlap(left, right, dimensions),
        }


def measure_line(
    recipe: factories.Recipe,
    a: tuple[Params, State],
    b: tuple[Params, State],
    points: int = 11,
    batch_norm: Literal["interpolated", "reestimated"] = "interpolated",
    split: factories.Split = "test",
    barrier_of: Literal["error", "loss"] = "error",
) -> Numbers:
    """``t``, ``<split>/loss`` and ``<split>/error`` on the line from ``a`` to ``b``; ``barrier``.

    Args:
        recipe: What both networks were trained by.
        a: Parameters, multiplied by their mask, and running statistics at ``t = 0``.
        b: Parameters and running statistics at ``t = 1``.
        points: Values of t, evenly spaced.
        batch_norm: The running statistics interpolated too, or estimated anew at every point, the
            end points included, from ten batches of training images.
        split: The images to evaluate on.
        barrier_of: Which of the two curves the barrier belongs to.
    """
    evaluate = recipe.evaluate if split == "test" else recipe.evaluate_train
    t = np.linspace(0, 1, points).tolist()
    tests = []
    for position in t:
        params, state = landscape.interpolate(a, b, position)
        if batch_norm == "reestimated":
            state = landscape.batch_statistics(recipe.model, params, state, _inputs(recipe, 10))
        tests.append(evaluate(params, state))
    curves = {
        "loss": [test["loss"] for test in tests],
        "error": [1 - test["accuracy"] for test in tests],
    }
    named = {f"{split}/{name}": values for name, values in curves.items()}
    return {"t": t, **named, "barrier": landscape.barrier(curves[barrier_of])}


def _inputs(recipe: factories.Recipe, num_batches: int) -> Iterator[Array]:
    """The first training images as the network takes them."""
    size = recipe.config.train.batch_size
    to_inputs = factories.inputs(recipe.config.data, recipe.dataset)
    for x, _ in factories.in_order(recipe.dataset, "train", size, num_batches * size):
        yield to_inputs(jnp.asarray(x))
