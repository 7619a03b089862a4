"""The exact empirical NTK of ResNet-20 with 10 outputs, against the other ways of computing it.

    python -m benchmarks.ntk [--n 32 64 128] [--density 1 0.2 0.05] [--repeats 5]
                             [--ways here jacrev ...] [--torch_python PATH] [--width 16]

Every way runs in a process of its own, and one repeat of each is timed in turn, so that all see the
same machine. A line gives the fastest repeat in seconds, its ratio to this engine (above 1 = this
engine is faster), processor seconds per core, counted operations, the share of the measured
matrix-product peak that they come to, and the peak memory of the process above that of its start.

Ways: here (this engine), jacrev (vmap of jacrev, one product), neural-tangents' three
implementations, torch (torch.func: vmap of jacrev, one product; `--torch_python` names a Python
that has torch). All but this engine contract every coordinate whatever the density. Ways whose
kernels differ in norm or trace end the benchmark.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.alternation import Worker, alternate, check_equal, serve

WAYS = ("here", "jacrev", "nt_jacobian", "nt_structured", "nt_vectors", "torch")
IMPLEMENTATIONS = {
    "nt_jacobian": "JACOBIAN_CONTRACTION",
    "nt_structured": "STRUCTURED_DERIVATIVES",
    "nt_vectors": "NTK_VECTOR_PRODUCTS",
}
CLASSES = 10
AGREEMENT = 1e-3


def numbers(kernel: np.ndarray) -> list[float]:
    """The norm and the trace of ``[n, n, C, C]`` or ``[n C, n C]``, by which ways are compared."""
    trace = np.einsum("iicc->", kernel) if kernel.ndim == 4 else np.trace(kernel)
    return [float(np.linalg.norm(kernel)), float(trace)]


def make_problem(n: int, density: float, width: int):
    """The network, its variables, a mask, and the inputs."""
    import jax

    from ntk_prune import masks, models

    model = models.resnet(20, width, CLASSES)
    x = jax.random.normal(jax.random.key(1), (n, 32, 32, 3))
    params, state = jax.jit(model.init)(jax.random.key(0), x[:1])
    mask = masks.ones_like(params)
    if density < 1:
        scores = jax.tree.map(lambda p: jax.random.uniform(jax.random.key(p.size), p.shape), params)
        mask = masks.keep_top(scores, mask, density)
    return model, params, state, mask, x


def prepare(way: str, n: int, density: float, width: int):
    """The computation of one way, and its counted operations where they are known."""
    import jax

    from ntk_prune.ntk import empirical_ntk, estimate_cost
    from ntk_prune.ntk.backends.neural_tangents import kernel_function
    from ntk_prune.ntk.problem import KernelProblem

    model, params, state, mask, x = make_problem(n, density, width)
    options = {"state": state, "wrt": "prunable", "mask": mask if density < 1 else None}
    if way == "here":
        flops = estimate_cost(model, params, x, **options).flops
        return lambda: empirical_ntk(model, params, x, **options), flops
    if way == "jacrev":
        return _jacrev(model, params, x, options)
    problem = KernelProblem(model, params, x, **options)
    theta, kernel_fn = kernel_function(problem, IMPLEMENTATIONS[way])
    compiled = jax.jit(lambda theta, x: kernel_fn(x, None, theta))
    return lambda: np.asarray(compiled(theta, x)), None


def _jacrev(model, params, x, options):
    """The whole Jacobian by vmap of jacrev, and one product."""
    import jax
    import jax.numpy as jnp

    from ntk_prune import masks
    from ntk_prune.coordinates import chosen
    from ntk_prune.ntk import estimate_cost
    from ntk_prune.ntk.functions import split

    theta, merge = split(chosen(params, "prunable"), params)
    mask = options["mask"]

    def logits(theta, xi):
        weights = merge(theta) if mask is None else masks.apply(merge(theta), mask)
        return model.apply(weights, options["state"], xi[None], train=False)[0][0]

    @jax.jit
    def kernel(theta, x):
        leaves = jax.vmap(jax.jacrev(logits), (None, 0))(theta, x)
        flat = jnp.concatenate([j.reshape(x.shape[0] * CLASSES, -1) for j in leaves], axis=1)
        return flat @ flat.T

    chosen_kernel = {"state": options["state"], "wrt": "prunable"}
    cost = estimate_cost(model, params, x, backend="jacobian", **chosen_kernel)
    flops = cost.flops_backward + 2 * (x.shape[0] * CLASSES) ** 2 * cost.coordinates
    return lambda: np.asarray(kernel(theta, x)), flops


def command(way: str, n: int, density: float, arguments: argparse.Namespace, file: Path):
    """The words that start the process of one way."""
    if way == "torch":
        return [arguments.torch_python, "-m", "benchmarks.ntk_torch", "--problem", str(file)]
    words = ["--n", str(n), "--density", str(density), "--width", str(arguments.width)]
    return [sys.executable, "-m", "benchmarks.ntk", "--worker", way, *words]


def compare(ways: list[str], n: int, density: float, arguments: argparse.Namespace) -> list[dict]:
    """One row a way; a way that dies (out of memory) is left out with a note."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "problem.npz"
        if "torch" in ways:
            from benchmarks.compare import torch_arrays

            _, *network = make_problem(n, density, arguments.width)
            np.savez(file, **torch_arrays(*network))  # pyright: ignore
        started = (Worker(way, command(way, n, density, arguments, file)) for way in ways)
        workers = alternate(started, arguments.repeats)
    check_equal(workers, AGREEMENT)
    return [{"way": w.way, "n": n, "density": density, **w.best()} for w in workers]


def show(rows: list[dict], peak: float) -> None:
    """Print the rows of one size and density."""
    here = next((row["wall"] for row in rows if row["way"] == "here"), None)
    for row in rows:
        ratio = f"{row['wall'] / here:5.2f}" if here else "    -"
        counted = f"{row['flops'] / 1e9:8.1f}" if row["flops"] else "       -"
        share = f"{row['flops'] / row['wall'] / peak:6.0%}" if row["flops"] else "     -"
        print(
            f"{row['n']:5d} {row['density']:7g}  {row['way']:14s} {row['wall']:8.3f} {ratio} "
            f"{row['cpu'] / (os.cpu_count() or 1):8.3f} {counted} {share} "
            f"{row['memory'] / 2**20:8.0f}  {row['numbers'][0]:.6g}",
            flush=True,
        )


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--n", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--density", type=float, nargs="+", default=[1.0, 0.2, 0.05])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS[:4]))
    parser.add_argument("--torch_python", default="", help="a Python that has torch")
    parser.add_argument("--json", help="also write the rows to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.torch_python and "torch" not in arguments.ways:
        arguments.ways.append("torch")
    if "torch" in arguments.ways and not arguments.torch_python:
        parser.error("the way `torch` needs --torch_python, a Python that has torch")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Compare all ways at every size and density."""
    arguments = parse(argv)
    if arguments.worker:
        n, density = arguments.n[0], arguments.density[0]
        compute, flops = prepare(arguments.worker, n, density, arguments.width)
        serve(compute, numbers, flops)
        return
    from benchmarks.machine import describe, matrix_product_peak

    peak = matrix_product_peak()
    print(
        f"{describe()}; matrix products at {peak / 1e9:.0f} GFLOP/s; ResNet-20 x {arguments.width}"
    )
    print("    n density  way             seconds ratio  cpu/core   GFLOP  share      MiB  norm")
    rows = []
    for n in arguments.n:
        for density in arguments.density:
            rows += compare(arguments.ways, n, density, arguments)
            show([row for row in rows if (row["n"], row["density"]) == (n, density)], peak)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"peak": peak, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
