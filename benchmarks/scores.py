"""Seconds per score of every pruner, against the counted floating-point limit.

    python -m benchmarks.scores [--network resnet20 vgg16] [--methods px ...] [--batch 100]

One line per pruner and density: seconds of one evaluation of the score on one batch (the fastest
of the repeats, compiled before), counted FLOPs, and the share of the measured matrix-product peak.
A masked network costs what the dense one costs: the mask is data, not structure. SynFlow's and PX's
factors are computed in float64, whose peak is half of that. Last, a complete NTK-SAP pruning with
T = 20 and R = 5, compilation included.
"""

import argparse
import time
import warnings

import jax
import jax.numpy as jnp

from benchmarks.machine import describe, matrix_product_peak, seconds
from ntk_prune import masks
from ntk_prune.models import resnet, vgg
from ntk_prune.pruners import PRUNERS, prune
from ntk_prune.types import Batch

NETWORKS = {"resnet20": lambda: resnet(20, 16), "vgg16": lambda: vgg(16)}

# Forward passes of one batch, and of one example: a gradient is 2 more, a derivative of all that
# doubles it. NTK-SAP: the pass for batch statistics, and forward and backward through two networks.
# PX: the pass that records the gates, the activations, and the gradient of the path values.
FORWARDS = {
    "snip": (3, 0),
    "itersnip": (3, 0),
    "grasp": (9, 0),
    "synflow": (0, 3),
    "synflow_l2": (0, 3),
    "ntksap": (7, 0),
    "px": (2, 3),
    "pxact": (3, 0),
}
OPTIONS = {"ntksap": {"num_rounds": 1, "num_draws": 1}}


def forward_flops(model, params, state, x) -> float:
    """XLA's count for one forward pass of ``x``."""
    forward = jax.jit(lambda p, s, x: model.apply(p, s, x, train=False)[0])
    return forward.lower(params, state, x).compile().cost_analysis()["flops"]


def problem(name: str, batch: int):
    """The network, its variables, one random batch and a mask for each density."""
    model = NETWORKS[name]()
    x = jax.random.normal(jax.random.key(1), (1, batch, 32, 32, 3))
    y = jax.random.randint(jax.random.key(2), (1, batch), 0, 10)
    params, state = jax.jit(model.init)(jax.random.key(0), x[0])
    dense = masks.ones_like(params)
    scores = PRUNERS["random"]().score(jax.random.key(3), model, params, state, dense, Batch(x, y))
    return (
        model,
        params,
        state,
        Batch(x, y),
        {1.0: dense, 0.05: masks.keep_top(scores, dense, 0.05)},
    )


def table(name: str, methods: list[str], batch: int, repeats: int, peak: float) -> None:
    """Print the rows of one network."""
    model, params, state, batches, by_density = problem(name, batch)
    one = forward_flops(model, params, state, batches.x[0, :1])
    print(f"\n{name}, batch {batch}, forward pass {one / 1e6:.1f} MFLOP per image\n")
    print("| score | density | seconds | GFLOP | limit, seconds | share of peak |")
    print("|---|---|---|---|---|---|")
    for method in methods:
        pruner = PRUNERS[method](**OPTIONS.get(method, {}))
        of_batch, of_one = FORWARDS.get(method, (0, 0))
        flops = (of_batch * batch + of_one) * one
        for density, mask in by_density.items():
            taken = seconds(
                lambda p=pruner, m=mask: p.score(
                    jax.random.key(0), model, params, state, m, batches
                ),
                repeats,
            )
            print(
                f"| {method} | {density:g} | {taken:.4f} | {flops / 1e9:.2f} "
                f"| {flops / peak:.4f} | {flops / taken / peak:.0%} |",
                flush=True,
            )


def whole_pruning(batch: int) -> None:
    """Time NTK-SAP with T = 20 and R = 5 on ResNet-20 from a cold start."""
    model, params, state, batches, by_density = problem("resnet20", batch)
    jax.clear_caches()
    start = time.perf_counter()
    pruner = PRUNERS["ntksap"](num_rounds=20, num_draws=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mask, info = prune(
            jax.random.key(4), pruner, model, params, state, by_density[1.0], batches, 0.8**18
        )
    total = time.perf_counter() - start
    later = sum(r.seconds for r in info.rounds[1:]) / (len(info.rounds) - 1)
    print(
        f"\nNTK-SAP, ResNet-20, T = 20, R = 5, batch {batch}, density {masks.density(mask):.4f}: "
        f"{total:.1f} s in all, {total - 20 * later:.1f} s of it compiling, {later:.2f} s a round"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=PRUNERS, default=list(PRUNERS))
    parser.add_argument("--batch", type=int, default=100, help="images per batch")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls; the fastest counts")
    arguments = parser.parse_args()
    peak = matrix_product_peak()
    print(f"{describe()}; float32 matrix product {peak / 1e9:.0f} GFLOP/s; ", end="")
    print(f"numbers in {jnp.zeros(()).dtype}")
    for name in arguments.network:
        table(name, arguments.methods, arguments.batch, arguments.repeats, peak)
    if "ntksap" in arguments.methods:
        whole_pruning(arguments.batch)


if __name__ == "__main__":
    main()
