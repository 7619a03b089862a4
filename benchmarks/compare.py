"""This package against PyTorch: the same work on the same weights, in alternation.

    python -m benchmarks.compare [--network resnet20 vgg16] [--work train snip ...]
                                 [--density 0.1] [--repeats 7] [--torch_python PATH]

Every way runs in a process of its own, and one repeat of each is timed in turn. PyTorch runs in
NCHW (the published codes) and in channels_last, with the better number of threads of all cores and
half of them. A line gives the medians of wall and CPU time of a repeat (CPU time divided by the
cores), how many times longer PyTorch takes than this package by CPU time, with the quartiles of
that ratio over the repeats, and the peak memory above that of the process before. All keep the heap
that `experiments.run` keeps. The ways have to agree, layer by layer, or the benchmark fails.

Works: a masked training step (without augmentation), and the scores of one batch by SNIP, GraSP,
SynFlow, NTK-SAP (one given draw of weights, images and perturbation) and PX.
"""

import argparse
import functools
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.alternation import Worker, alternate, check_equal, serve
from benchmarks.machine import describe, matrix_product_peak
from experiments.heap import KEPT
from ntk_prune import masks, training
from ntk_prune.interop.torch_layout import resnet_name, torch_name
from ntk_prune.models import resnet, vgg
from ntk_prune.pruners import PRUNERS
from ntk_prune.pruners.ntksap import draw_perturbation, saliency
from ntk_prune.types import Batch, Mask, Model, Params, State

WORKS = ("train", "snip", "grasp", "synflow", "ntksap", "px")
NETWORKS: dict[str, tuple[Callable[[], Model], int]] = {  # and the batch
    "resnet20": (lambda: resnet(20, 16), 128),
    "vgg16": (lambda: vgg(16), 32),
}
AGREEMENT = 2e-3  # of the largest number: single ReLUs flip between two roundings


class Problem(NamedTuple):
    """A masked network at initialisation, one batch of noise, and a perturbation."""

    model: Model
    params: Params
    state: State
    mask: Mask
    x: jax.Array
    y: jax.Array
    delta: Params


def make_problem(network: str, density: float) -> Problem:
    """The same in every process."""
    make, batch = NETWORKS[network]
    model = make()
    x = jax.random.normal(jax.random.key(1), (batch, 32, 32, 3))
    y = jax.random.randint(jax.random.key(2), (batch,), 0, 10)
    params, state = jax.jit(model.init)(jax.random.key(0), x[:1])
    scores = jax.tree.map(lambda p: np.random.default_rng(p.size).random(p.shape), params)
    mask = masks.keep_top(scores, masks.ones_like(params), density)
    delta = draw_perturbation(jax.random.key(3), params, 0.01)
    return Problem(model, params, state, mask, x, y, delta)


def torch_arrays(params: Params, state: State, mask: Mask, x: jax.Array) -> dict[str, np.ndarray]:
    """A masked network and its inputs in the names and layouts of PyTorch."""
    weights = _named({"params": params, "state": state}, "weight")
    kept = _named({"params": masks.as_float(mask, params)}, "mask")
    prunable = {f"mask:{torch_name(path, resnet_name)}" for path in _prunable(params)}
    images = {"x": np.asarray(x).transpose(0, 3, 1, 2)}
    return images | weights | {name: kept[name] for name in sorted(prunable)}


def _named(tree: Params, part: str) -> dict[str, np.ndarray]:
    """The leaves of a tree as ``<part>:<PyTorch's name>``."""
    return {
        f"{part}:{torch_name(path, resnet_name)}": torch_layout(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def torch_layout(leaf: jax.Array) -> np.ndarray:
    """A kernel in PyTorch's layout; vectors stay."""
    array = np.asarray(leaf)
    return np.ascontiguousarray(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T)


def _prunable(params: Params) -> list:
    flat = jax.tree_util.tree_flatten_with_path({"params": params})[0]
    return [path for path, _ in flat if masks.is_kernel(masks.path_of(path))]


def work_here(problem: Problem, work: str) -> Callable[[], list[float]]:
    """The work by this package, which returns its numbers in the order of PyTorch's names."""
    if work == "train":
        return _Train(problem)
    if work == "ntksap":
        score = _ntksap
    else:
        batches = Batch(problem.x[None], problem.y[None])
        network = (problem.model, problem.params, problem.state, problem.mask)
        score = functools.partial(PRUNERS[work]().score, jax.random.key(0), *network, batches)
        return lambda: _shares(score())
    return lambda: _shares(score(problem))


def _ntksap(problem: Problem) -> Params:
    gradient = _ntksap_gradient(
        problem.model, problem.params, problem.state, problem.mask, problem.x, problem.delta
    )
    return jax.tree.map(jnp.abs, gradient)


_ntksap_gradient = jax.jit(saliency, static_argnums=0)


def _shares(scores: Params) -> list[float]:
    """The share of each layer in the sum of all scores."""
    flat = jax.tree_util.tree_flatten_with_path({"params": scores})[0]
    sums = {
        torch_name(path, resnet_name): np.asarray(leaf).sum(dtype=float)
        for path, leaf in flat
        if masks.is_kernel(masks.path_of(path))
    }
    total = sum(map(abs, sums.values()))
    return [sums[name] / total for name in sorted(sums)]


class _Train:
    """Steps of SGD with momentum 0.9 and weight decay 1e-4 on the masked network."""

    def __init__(self, problem: Problem):
        optimizer = training.sgd(0.01, 0.9, weight_decay=1e-4)
        step = training.make_train_step(problem.model, optimizer, lambda *batch: batch[-1])
        self.state = training.create(problem.params, problem.state, problem.mask, optimizer)
        self.batch = training.Examples(
            problem.x, problem.y, jnp.arange(len(problem.x)), jax.random.key(0)
        )
        self.step = jax.jit(step, static_argnums=2, donate_argnums=0)

    def __call__(self) -> list[float]:
        """One step; the loss before it."""
        self.state, metrics = self.step(self.state, self.batch, None)
        return [float(metrics["loss"])]


def compare(network: str, work: str, arguments: argparse.Namespace, folder: Path) -> str:
    """One line of the table."""
    file = folder / f"{network}.npz"
    if not file.exists():
        problem = make_problem(network, arguments.density)
        arrays = torch_arrays(problem.params, problem.state, problem.mask, problem.x)
        others = {"y": np.asarray(problem.y, int), **_named({"params": problem.delta}, "delta")}
        np.savez(file, **arrays, **others)  # pyright: ignore
    common = ["--network", network, "--work", work]
    here = [sys.executable, "-m", "benchmarks.compare", *common, "--worker"]
    there = [arguments.torch_python, "-m", "benchmarks.torch_work", *common, "--problem"]
    commands = {
        "here": [*here, "--density", str(arguments.density)],
        "NCHW": [*there, str(file)],
        "channels_last": [*there, str(file), "--channels_last"],
    }
    heap = {"GLIBC_TUNABLES": KEPT}
    workers = alternate((Worker(*item, heap) for item in commands.items()), arguments.repeats)
    if len(workers) < len(commands):
        sys.exit(f"{network}, {work}: not all ways gave a result")
    check_equal(workers, AGREEMENT)
    cores = os.cpu_count() or 1
    seconds = [f"{w.median('wall'):.3f} / {w.median('cpu') / cores:.3f}" for w in workers]
    memory = " / ".join(f"{w.median('memory') / 2**20:.0f}" for w in workers)
    ratios = [_ratio(workers[0], other) for other in workers[1:]]
    return f"| {network} | {work} | " + " | ".join([*seconds, *ratios, memory]) + " |"


def _ratio(here: Worker, other: Worker) -> str:
    """The median and the quartiles of the ratios of the repeats, by CPU time."""
    pairs = zip(here.answers, other.answers, strict=True)
    low, middle, high = np.quantile([b["cpu"] / a["cpu"] for a, b in pairs], [0.25, 0.5, 0.75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--torch_python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        problem = make_problem(arguments.network[0], arguments.density)
        serve(work_here(problem, arguments.work[0]))
        return
    if arguments.torch_python == sys.executable and importlib.util.find_spec("torch") is None:
        parser.error("this Python has no torch: install it, or name one by --torch_python")
    print(f"{describe()}; float32 matrix product {matrix_product_peak() / 1e9:.0f} GFLOP/s\n")
    print("Seconds: wall / CPU per core. Memory: MiB, here / NCHW / channels_last.\n")
    print("| network | work | here | NCHW | channels_last | NCHW / here | cl / here | memory |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for network in arguments.network:
            for work in arguments.work:
                print(compare(network, work, arguments, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
