"""Products with the kernel equal products with its matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import network, random_mask

from ntk_prune import linalg
from ntk_prune.ntk import empirical_ntk, ntk_operator
from ntk_prune.ntk.diagnostics import as_matrix


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("chunk", [None, 2])
def test_products(pruned, chunk):
    wrt = "prunable" if chunk else "all"
    with jax.enable_x64(True):
        model, params, state, x = network("residual", dtype=jnp.float64)
        options = {"state": state, "mask": random_mask(params) if pruned else None, "wrt": wrt}
        matrix = as_matrix(empirical_ntk(model, params, x, **options))
        op = ntk_operator(model, params, x, chunk=chunk, **options)
        u = jax.random.normal(jax.random.key(3), (op.size,))
        np.testing.assert_allclose(op.matvec(u), matrix @ u, rtol=1e-9)
        np.testing.assert_allclose(op.jvp(op.vjp(u)), matrix @ u, rtol=1e-9)
        v = jax.random.normal(jax.random.key(4), (op.num_parameters,))
        np.testing.assert_allclose(u @ op.jvp(v), v @ op.vjp(u), rtol=1e-9)


def test_lanczos_equals_eigh_of_the_kernel():
    with jax.enable_x64(True):
        model, params, state, x = network("mlp", n=12, dtype=jnp.float64)
        options = {"state": state, "mask": random_mask(params)}
        op = ntk_operator(model, params, x, **options)
        exact = np.linalg.eigvalsh(as_matrix(empirical_ntk(model, params, x, **options)))[::-1]
        top = linalg.top_eigenvalues(jax.random.key(7), op, 6)
    np.testing.assert_allclose(top.values, exact[:6], rtol=1e-10)
    assert (top.residuals < 1e-8 * exact[0]).all()


def test_gradient_is_zero_at_pruned_coordinates():
    model, params, state, x = network("mlp")
    mask = random_mask(params)
    op = ntk_operator(model, params, x, state=state, mask=mask)
    kept = np.concatenate([np.ravel(m) for m in jax.tree.leaves(mask)])
    gradient = np.asarray(op.vjp(jnp.ones(op.size)))
    assert (gradient[~kept] == 0).all()
    assert (gradient[kept] != 0).mean() > 0.9


def test_a_model_needs_its_state():
    model, params, _, x = network("mlp")
    with pytest.raises(ValueError, match="needs its `state`"):
        ntk_operator(model, params, x)
