"""Every path of a tiny network, by brute force in numpy: no convolution, no gradient.

A network is a list of layers of edges between numbered units. An edge carries a weight, by its
index in the vector of all weights, or none (-1), and a fixed factor.
"""

import itertools
from typing import NamedTuple

import numpy as np


class Layer(NamedTuple):
    """Edges ``source -> target`` of one layer, and what its targets do with their sum."""

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray  # -1 where there is none
    factor: float = 1.0
    kind: str = "linear"  # "relu", or "max" for the largest edge instead of the sum


def dense(inputs: int, outputs: int, start: int, kind: str) -> Layer:
    """A linear layer with its kernel ``[inputs, outputs]`` at ``start`` of the weights."""
    i, o = np.divmod(np.arange(inputs * outputs), outputs)
    return Layer(i, o, start + np.arange(inputs * outputs), kind=kind)


def convolution(size: int, shape: tuple[int, ...], stride: int, start: int, kind: str) -> Layer:
    """A convolution with kernel ``[h, w, in, out]``, padding ``(h - 1) // 2``, on a square."""
    h, w, inputs, outputs = shape
    out_size = (size + 2 * ((h - 1) // 2) - h) // stride + 1
    edges = []
    for r, c, dr, dc in itertools.product(range(out_size), range(out_size), range(h), range(w)):
        row, column = r * stride + dr - (h - 1) // 2, c * stride + dc - (w - 1) // 2
        if not (0 <= row < size and 0 <= column < size):
            continue
        for i, o in itertools.product(range(inputs), range(outputs)):
            source = (row * size + column) * inputs + i
            target = (r * out_size + c) * outputs + o
            edges.append((source, target, start + ((dr * w + dc) * inputs + i) * outputs + o))
    return Layer(*np.array(edges).T, kind=kind)


def max_pool(size: int, channels: int, window: int) -> Layer:
    """Windows that touch without overlap, on a square."""
    r, c, k = np.unravel_index(np.arange(size * size * channels), (size, size, channels))
    target = ((r // window) * (size // window) + c // window) * channels + k
    return Layer(np.arange(len(target)), target, np.full(len(target), -1), kind="max")


def mean(positions: int, channels: int) -> Layer:
    """The mean over positions."""
    units = np.arange(positions * channels)
    return Layer(units, units % channels, np.full(len(units), -1), 1 / positions)


class Paths(NamedTuple):
    """All paths: first unit, last unit, and per layer the edge that is taken, ``[P, depth]``."""

    first: np.ndarray
    last: np.ndarray
    edges: np.ndarray


def enumerate_paths(layers: list[Layer], theta: np.ndarray) -> Paths:
    """Every path from an input to an output over edges that are not pruned (weight zero)."""
    first = np.unique(layers[0].source)
    paths = [(i, i, ()) for i in first]
    for layer in layers:
        alive = (layer.weight < 0) | (theta[layer.weight] != 0)
        leaving = {
            unit: np.flatnonzero((layer.source == unit) & alive) for unit in set(layer.source)
        }
        paths = [(i, layer.target[e], (*edges, e)) for i, end, edges in paths for e in leaving[end]]
    first, last, edges = zip(*paths, strict=True)
    return Paths(np.array(first), np.array(last), np.array(edges))


def open_edges(layers: list[Layer], theta: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    """Which edges of each layer are open for one flat input."""
    opened = []
    for layer in layers:
        strength = np.where(layer.weight < 0, 1, theta[layer.weight]) * layer.factor
        flow = strength * x[layer.source]
        units = layer.target.max() + 1
        if layer.kind == "max":
            y = np.full(units, -np.inf)
            np.maximum.at(y, layer.target, flow)
            gate = flow == y[layer.target]
        else:
            y = np.bincount(layer.target, flow, units)
            gate = (y[layer.target] > 0) | (layer.kind == "linear")
        x = np.maximum(y, 0) if layer.kind == "relu" else y
        opened.append(gate)
    return opened


class Kernel(NamedTuple):
    """``f = J_v^f v`` and its factors: ``values [P]``, ``activation [B, K, P]`` and
    ``by_weight [P, N] = d v / d theta``; ``uses [P, N]`` says which weights a path takes."""

    values: np.ndarray
    activation: np.ndarray
    by_weight: np.ndarray
    uses: np.ndarray
    output: np.ndarray  # [P, K], one-hot


def path_kernel(layers: list[Layer], theta: np.ndarray, x: np.ndarray) -> Kernel:
    """The factors of the kernel at flat inputs ``x [B, inputs]``. The square root of every fixed
    factor on a path goes to its value, the other to its activation."""
    paths = enumerate_paths(layers, theta)
    count, outputs = len(paths.first), layers[-1].target.max() + 1
    taken = np.stack([lay.weight[e] for lay, e in zip(layers, paths.edges.T, strict=True)], axis=1)
    weights = np.where(taken < 0, 1, theta[taken])
    root = np.sqrt(np.prod([layer.factor for layer in layers]))
    uses, by_weight = np.zeros((2, count, len(theta)))
    for position in range(len(layers)):
        p = np.flatnonzero(taken[:, position] >= 0)
        uses[p, taken[p, position]] = 1
        rest = np.delete(weights[p], position, axis=1).prod(axis=1)
        by_weight[p, taken[p, position]] = root * rest
    opened = np.stack([_open_paths(layers, theta, xi, paths) for xi in x])
    output = np.eye(outputs)[paths.last]
    activation = root * (opened * x[:, paths.first])[:, None] * output.T
    return Kernel(root * weights.prod(axis=1), activation, by_weight, uses, output)


def _open_paths(layers, theta, x, paths: Paths) -> np.ndarray:
    gates = open_edges(layers, theta, x)
    return np.all([gate[e] for gate, e in zip(gates, paths.edges.T, strict=True)], axis=0)
