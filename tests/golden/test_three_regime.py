"""Masks of the published codes: the three-regime model's, and LAMP's, which it builds on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from three_regime_files import kernel_name, mask_like, network, read, under, variables

from ntk_prune import masks
from ntk_prune.pruners import lamp, magnitude, prune
from ntk_prune.pruners.lamp import normalised_squares
from ntk_prune.types import Batch

PRUNERS = {
    "unif_conv": magnitude("uniform", exclude=("fc",)),
    "glob_conv": magnitude("global", exclude=("fc",)),
    "unif": magnitude("uniform"),
    "glob": magnitude("global"),
    "unifplus": magnitude("uniform_plus"),
    "erk": magnitude("erk_rounded"),
    "lamp": lamp(),
}


@pytest.fixture(scope="module")
def trained():
    with jax.enable_x64(True):
        file = read("masks")
        model, *shapes = network(8, 1 / 4)
        params, state = jax.tree.map(jnp.asarray, variables(under(file, "weights"), *shapes))
        yield file, model, params, state


@pytest.mark.parametrize("i", [0, 1, 2])
@pytest.mark.parametrize("name", PRUNERS)
def test_masks(trained, name, i):
    file, model, params, state = trained
    batches = Batch(np.zeros((1, 1, 32, 32, 3)), np.zeros((1, 1), int))
    dense, density = masks.ones_like(params), float(file["densities"][i])
    with jax.enable_x64(True):
        mask, _ = prune(
            jax.random.key(0), PRUNERS[name], model, params, state, dense, batches, density
        )
    jax.tree.map(
        np.testing.assert_array_equal, mask, mask_like(under(file, f"d{i}/{name}/mask"), params)
    )
    published = dict(zip(file["layer_names"], file[f"d{i}/{name}/kept"], strict=True))
    paths = jax.tree_util.tree_flatten_with_path(mask)[0]
    kernels = {kernel_name(path): m for path, m in paths if masks.is_kernel(masks.path_of(path))}
    assert {layer: int(m.sum()) for layer, m in kernels.items()} == published


def test_lamp_scores(trained):
    file = trained[0]
    for name, scores in under(file, "lamp_score").items():
        weights = file[f"weights/{name}"]
        ours = normalised_squares(weights, np.ones(weights.shape, bool))
        np.testing.assert_allclose(ours, scores, rtol=1e-12)
