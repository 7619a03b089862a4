"""The network of a config, its first weights, and what prunes it."""

import bisect
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jax.extend import core

from experiments.config import ModelConfig, PruneConfig
from experiments.errors import UserError, user_errors
from experiments.factories.data import Data
from ntk_prune import masks
from ntk_prune.compiling import jit_once
from ntk_prune.interop import pretrained
from ntk_prune.pruners import controls, paths
from ntk_prune.types import Array, Key, Model, Params, Pruner, State

LARGEST_TRIED = 256
"""Pixels a side of the largest image that is tried with a network that makes nothing of one."""


def make_model(config: ModelConfig, dataset: Data, image: Array) -> Model:
    """The network with as many outputs as the data has classes, tried on one image's shape.

    ValueError if its outputs do not fit the labels, FileNotFoundError if its weights are not there.
    """
    if config.weights is not None and not Path(config.weights).is_file():
        raise FileNotFoundError(f"weights: no such file: {config.weights}")
    model: Model = config.make(num_classes=dataset.num_classes)
    traced = _trace(model, image)
    if traced is None:
        raise ValueError(_too_small(config.name, model, image))
    check_memory(config.name, count_weights(model, image))
    output_shape = traced.shape[1:-1]
    label_shape = dataset.examples(np.arange(1))[1].shape[1:]
    if output_shape != label_shape:
        raise ValueError(
            f"{config.name} gives {_labels(output_shape)}, "
            f"but {dataset.name} has {_labels(label_shape)}"
        )
    return model


def count_weights(model: Model, image: Array) -> int:
    """How many weights the network has, which are not made."""
    params, _ = jax.eval_shape(model.init, jax.random.key(0), image)
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def check_memory(name: str, number: int) -> None:
    """ValueError for a number of weights that this machine cannot hold: the process would end."""
    bytes_here = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 4 * number > bytes_here:
        raise ValueError(
            f"{name} would have {number:,} weights, {4e-9 * number:,.0f} GB; this machine has "
            f"{1e-9 * bytes_here:,.0f} GB: choose smaller options"
        )


def _trace(model: Model, image: Array) -> jax.ShapeDtypeStruct | None:
    """The outputs for one image, or None where an array on the way to them has no entries."""

    def outputs(key: Key) -> Array:
        return model.apply(*model.init(key, image), image, train=False)[0]

    try:
        program, result = jax.make_jaxpr(outputs, return_shape=True)(jax.random.key(0))
    except ZeroDivisionError:  # an initialiser for no inputs
        return None
    return None if _has_empty_values(program.jaxpr) else result


def _has_empty_values(program: core.Jaxpr) -> bool:
    for equation in program.eqns:
        if any(0 in getattr(v.aval, "shape", ()) for v in equation.outvars):
            return True
        for inner in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            if isinstance(inner, core.Jaxpr) and _has_empty_values(inner):
                return True
    return False


def _too_small(name: str, model: Model, image: Array) -> str:
    """What to say of images that the network reduces to nothing."""
    _, height, width, channels = image.shape
    sizes = range(min(height, width) + 1, LARGEST_TRIED + 1)

    def is_enough(size: int) -> bool:
        return _trace(model, np.zeros((1, size, size, channels), np.float32)) is not None

    least = bisect.bisect_left(sizes, True, key=is_enough)
    advice = f"; the least is {sizes[least]}x{sizes[least]}" if least < len(sizes) else ""
    return f"{name} reduces images of {height}x{width} pixels to nothing{advice}"


def _labels(shape: tuple[int, ...]) -> str:
    """``one label an image``, ``a label for each of 33x33 pixels``."""
    return (
        f"a label for each of {'x'.join(map(str, shape))} pixels"
        if shape
        else ("one label an image")
    )


def initialise(config: ModelConfig, key: Key, model: Model, image: Array) -> tuple[Params, State]:
    """The weights to prune: drawn, and replaced by pretrained ones if the config names a file.

    With one seed, every method gets the same.
    """
    params, state = jit_once(model.init)(key, image)
    if config.weights is None:
        return params, state
    with user_errors("model.weights"):
        return pretrained.load(config.weights, config.weights_source, params, state)


def make_pruner(config: PruneConfig) -> Pruner | None:
    """The pruner of a config, inverted if it says so; None for the dense network."""
    pruner: Pruner | None = config.make()
    return controls.invert(pruner) if pruner and config.control == "invert" else pruner


def check_densities(
    field: str, densities: Sequence[float], pruner: Pruner | None, params: Params
) -> None:
    """UserError for a density that keeps none of the weights, or shapes of weights, ``params``."""
    which = masks.is_kernel if pruner is None else masks.excluding(params, pruner.exclude)
    total = sum(leaf.size for _, leaf in masks.leaves(params, which))
    least = min(densities)
    if round(least * total) == 0:
        raise UserError(f"{field}: {least:g} keeps none of the {total} prunable weights")


def check_paths(pruner: Pruner | None, model: Model, image: Array) -> None:
    """ValueError for a criterion that follows paths, or excludes modules, that the network does
    not have."""
    if pruner is None or not (pruner.follows_paths or pruner.exclude):
        return
    params, state = jax.eval_shape(model.init, jax.random.key(0), image)
    masks.excluding(params, pruner.exclude)
    if pruner.follows_paths:
        paths.check_linear(model, params, state, image)
