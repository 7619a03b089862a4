"""The only place where names in a config become objects.

Whatever can be missing or wrong fails here, before a run writes anything.
"""

from experiments.factories.data import (
    Data,
    Split,
    check_images,
    example,
    in_order,
    inputs,
    load_data,
    load_images,
    score_batches,
)
from experiments.factories.network import (
    check_densities,
    check_memory,
    check_paths,
    count_weights,
    initialise,
    make_model,
    make_pruner,
)
from experiments.factories.recipe import Program, Recipe, Trainable, choose_at_once
from experiments.factories.training import Seeds, make_feed
from ntk_prune.masks import layers_by_depth

__all__ = [
    "Data",
    "Program",
    "Recipe",
    "Seeds",
    "Split",
    "Trainable",
    "check_densities",
    "check_images",
    "check_memory",
    "check_paths",
    "choose_at_once",
    "count_weights",
    "example",
    "in_order",
    "initialise",
    "inputs",
    "layers_by_depth",
    "load_data",
    "load_images",
    "make_feed",
    "make_model",
    "make_pruner",
    "score_batches",
]
