"""The straight line between two networks: ``lmc_<pair>/...`` of the networks ``net<letter>``."""

import functools
import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntk_prune import landscape
from ntk_prune.landscape import Line
from ntk_prune.types import Array, Params
from tools.parity.files import Arrays, Jobs, Pairs
from tools.parity.three_regime.networks import PreResNets, in_batches

DECAY = 1e-4  # in the loss on the line; the file does not record it
INPUTS = re.compile(
    r"net\w/.*|mask/.*|seed|depth|width_k|density|channel_\w+|(train|test)_(images_8x8|labels|batch)"
)


def recognises(arrays: Arrays) -> bool:
    """Whether the file holds lines between networks."""
    return any(name.startswith("lmc_") for name in arrays)


def jobs(arrays: Arrays, path: Path) -> Jobs:
    """One for each pair of networks."""
    del path
    file = PreResNets(arrays)
    pairs = dict.fromkeys(name[4:6] for name in arrays if name.startswith("lmc_"))
    return [functools.partial(line, file, pair) for pair in pairs]


def line(file: PreResNets, pair: str) -> dict[str, Pairs]:
    """Everything on the line, batch norms estimated anew at every point, the ends included."""
    prefix = f"lmc_{pair}"
    a, b = (file.network(f"net{letter}") for letter in pair)
    train, test = (_examples(file, name) for name in ("train", "test"))
    inputs, points = [x for x, _ in train], len(file.arrays[f"{prefix}/ts"])
    on_line = landscape.line(file.model, a, b, train, test, statistics=inputs, points=points)
    params = [landscape.interpolate(a[0], b[0], t) for t in on_line.t]
    statistics = [landscape.batch_statistics(file.model, p, a[1], inputs) for p in params]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *statistics)
    ours = {**_curves(on_line, file), **_lengths(on_line, params), **_barriers(on_line)}
    return {
        **file.arrays.beside(ours, prefix),
        **_connectivity(on_line, file.arrays, prefix),
        f"{prefix}/bn": file.pairs(f"{prefix}/bn", state=stacked),
    }


def _examples(file: PreResNets, name: str) -> list[tuple[Array, Array]]:
    """Batches of images and labels."""
    size = int(file.arrays[f"{name}_batch"])
    labels = jnp.asarray(file.arrays[f"{name}_labels"])
    images = in_batches(file.images(f"{name}_images_8x8"), size)
    return list(zip(images, in_batches(labels, size), strict=True))


def _values(on_line: Line) -> dict[str, np.ndarray]:
    """Errors, as fractions, and losses, under the file's names."""
    return {
        "tr_err": on_line.train_error,
        "te_err": on_line.test_error,
        "tr_nll": on_line.train_loss,
        "te_nll": on_line.test_loss,
    }


def _curves(on_line: Line, file: PreResNets) -> dict[str, np.ndarray]:
    train, test = (len(file.arrays[f"{name}_labels"]) for name in ("train", "test"))
    return {
        "ts": on_line.t,
        "tr_err": 100 * on_line.train_error,
        "te_err": 100 * on_line.test_error,
        "tr_err_count": np.rint(train * on_line.train_error),
        "te_err_count": np.rint(test * on_line.test_error),
        "tr_nll": on_line.train_loss,
        "te_nll": on_line.test_loss,
    }


def _lengths(on_line: Line, params: list[Params]) -> dict[str, np.ndarray]:
    """Distances from point to point, and losses with the decay of all parameters."""
    steps = [jax.tree.map(jnp.subtract, b, a) for a, b in itertools.pairwise(params)]
    decay = DECAY / 2 * np.array([optax.tree.norm(p, squared=True) for p in params])
    return {
        "dl": np.array([0.0, *map(optax.tree.norm, steps)]),
        "tr_loss": on_line.train_loss + decay,
        "te_loss": on_line.test_loss + decay,
    }


def _barriers(on_line: Line) -> dict[str, float]:
    values = _values(on_line)
    return {f"barrier_{name}": landscape.barrier_height(v) for name, v in values.items()}


def _connectivity(on_line: Line, arrays: Arrays, prefix: str) -> dict[str, Pairs]:
    """Value and index. The two ends tie and differ in sign: rounding decides which it is, so they
    count as one index, and the value by its size."""
    named, last = {}, len(on_line.t) - 1
    for name, values in _values(on_line).items():
        ours = landscape.mode_connectivity(values)
        value, index = (arrays[f"{prefix}/{word}_{name}"] for word in ("value", "index"))
        sized = np.abs if index % last == 0 else np.asarray
        named[f"{prefix}/value_{name}"] = [(sized(ours.value), sized(value))]
        named[f"{prefix}/index_{name}"] = [(np.array(ours.index % last), index % last)]
    return named
