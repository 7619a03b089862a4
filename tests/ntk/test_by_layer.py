"""Kernels of groups of parameters add up to the whole kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import brute_force, network, random_mask

from ntk_prune import masks
from ntk_prune.ntk import empirical_ntk, layer_kernels


@pytest.mark.parametrize("pruned", [False, True])
def test_layers_sum_to_the_whole_kernel(pruned):
    with jax.enable_x64(True):
        model, params, state, x = network("mlp", n=3, dtype=jnp.float64)
        mask = random_mask(params) if pruned else None
        kernels = layer_kernels(model, params, x, state=state, mask=mask)
        whole = empirical_ntk(model, params, x, state=state, mask=mask)
        leaves = jax.tree_util.tree_flatten_with_path(params)[0]
        modules = {"/".join(masks.path_of(path)[:-1]) for path, _ in leaves}
        assert list(kernels) == sorted(modules)
        np.testing.assert_allclose(sum(kernels.values()), whole, rtol=1e-12)
        name = list(kernels)[-1]
        exact = brute_force(model, params, state, x, mask, leaf=lambda n: n.startswith(name))
        np.testing.assert_allclose(kernels[name], exact, rtol=1e-12)


def test_groups_conventions_and_a_layer_without_weights():
    model, params, state, x = network("mlp", n=3)
    first = next(iter(params))
    mask = masks.ones_like(params)
    mask[first] = jax.tree.map(jnp.zeros_like, mask[first])
    options = {"state": state, "mask": mask, "outputs": "trace", "wrt": "prunable"}
    kernels = layer_kernels(model, params, x, x[:2], group=lambda p: str(p[0] == first), **options)
    assert set(kernels) == {"True", "False"}
    assert (kernels["True"] == 0).all()
    whole = empirical_ntk(model, params, x, x[:2], **options)
    np.testing.assert_allclose(kernels["False"], whole, rtol=1e-6)


def test_a_group_is_a_name():
    f, weights = lambda p, x: x @ p["kernel"], {"kernel": jnp.eye(2)}
    with pytest.raises(ValueError, match=r"by a string, got 1 for \('kernel',\)"):
        layer_kernels(f, weights, jnp.ones((1, 2)), group=len)  # pyright: ignore
