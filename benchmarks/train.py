"""Images per second of masked training: one network and several as one program, pmap and jit.

    python -m benchmarks.train [--network resnet20] [--batch 128] [--replicates 1 2 4] [--steps 5]

One line per way: images per second of all networks together (the fastest of the repeats, compiled
before), and the share of the limit, which is the counted FLOPs of a step, three forward passes per
image, at the measured rate of a matrix product. Augmentation and the update are in the time and not
in the count. Networks that train as one program have their own masks, weights and batches.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import describe, matrix_product_peak
from benchmarks.scores import forward_flops
from ntk_prune import data, masks, training
from ntk_prune.models import lenet_300_100, resnet
from ntk_prune.types import Array, Key

NETWORKS = {
    "resnet20": (functools.partial(resnet, 20, 16), (32, 32, 3)),
    "lenet_300_100": (lenet_300_100, (28, 28, 1)),
}
DENSITY = 0.1


def prepare(key: Key, step: Array, index: Array, x: Array) -> Array:
    """The recipe of CIFAR: crop, flip, normalise."""
    x = data.augment_batch(data.pad_crop_flip(), key, step, index, x)
    return data.normalise((0.5,) * x.shape[-1], (0.25,) * x.shape[-1])(x)


def network(model, optimizer, image: Array, seed: int) -> training.TrainState:
    """Random weights under a random mask of density 0.1."""
    params, state = jax.jit(model.init)(jax.random.key(seed), image)
    scores = jax.tree.map(lambda p: np.random.default_rng(seed).random(p.shape), params)
    mask = masks.keep_top(scores, masks.ones_like(params), DENSITY)
    return training.create(params, state, mask, optimizer)


def images_per_second(
    name: str, parallel: str, replicates: int, batch: int, steps: int, repeats: int
) -> float:
    """Over all networks, of ``steps`` steps without the first, which compiles."""
    make, shape = NETWORKS[name]
    model, optimizer = make(), training.sgd(0.1, 0.9, weight_decay=1e-4)
    several = None if replicates == 1 else replicates
    step = training.make_train_step(model, optimizer, prepare)
    how = training.distribute(step, parallel, replicates=several)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4 * batch, *shape), dtype=np.uint8)
    y = rng.integers(0, 10, 4 * batch)
    keys = jax.random.split(jax.random.key(0), replicates)
    size = how.steps_per_call
    rows = rng.integers(0, len(x), (size, *([replicates] if several else []), batch))
    batches = how.take(*how.replicate((x, y)), rows, keys if several else keys[0])
    states = [network(model, optimizer, jnp.zeros((1, *shape)), r) for r in range(replicates)]
    state = jax.tree.map(lambda *s: jnp.stack(s), *states) if several else states[0]
    state, _ = how.step(how.replicate(state), batches)
    best = 0.0
    for _ in range(repeats):
        jax.block_until_ready(state)
        start = time.perf_counter()
        for _ in range(steps):
            state, _ = how.step(state, batches)
        jax.block_until_ready(state)
        images = steps * size * replicates * batch
        best = max(best, images / (time.perf_counter() - start))
    return best


def table(name: str, batch: int, replicates: list[int], steps: int, repeats: int) -> None:
    """Print the rows of one network."""
    make, shape = NETWORKS[name]
    model = make()
    image = jnp.zeros((1, *shape))
    flops = 3 * forward_flops(model, *jax.jit(model.init)(jax.random.key(0), image), image)
    limit = matrix_product_peak() * len(jax.devices()) / flops
    print(f"\n{name}, batch {batch}, {flops / 1e6:.0f} MFLOP per image and step, ", end="")
    print(f"limit {limit:,.0f} images/s\n")
    print("| networks | way | images/s | share of the limit |")
    print("|---|---|---|---|")
    for count in replicates:
        for parallel in ("pmap", "jit"):
            rate = images_per_second(name, parallel, count, batch, steps, repeats)
            print(f"| {count} | {parallel} | {rate:,.0f} | {rate / limit:.0%} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=["resnet20"])
    parser.add_argument("--batch", type=int, default=128, help="images per network and step")
    parser.add_argument("--replicates", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=5, help="dispatches that are timed together")
    parser.add_argument("--repeats", type=int, default=3, help="timings; the fastest counts")
    arguments = parser.parse_args()
    print(f"{describe()}, {len(jax.devices())} device(s)")
    for name in arguments.network:
        table(name, arguments.batch, arguments.replicates, arguments.steps, arguments.repeats)


if __name__ == "__main__":
    main()
