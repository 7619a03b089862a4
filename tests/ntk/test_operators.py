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


def test_layouts_of_vectors():
    with jax.enable_x64(True):
        model, params, state, x = network("mlp", n=3, dtype=jnp.float64)
        op = ntk_operator(model, params, x, state=state)
        u = jax.random.normal(jax.random.key(0), (op.size, 2))
        v = jax.random.normal(jax.random.key(1), (op.num_parameters, 2))
        assert (op.shape, op.dtype) == ((12, 12), jnp.float64)
        for product, many in ((op.matvec, u), (op.vjp, u), (op.jvp, v)):
            each = np.stack([product(column) for column in many.T], axis=1)
            np.testing.assert_allclose(product(many), each, rtol=1e-10)
        like_outputs = u[:, 0].reshape(3, 4)
        np.testing.assert_allclose(op.matvec(like_outputs), op.matvec(u[:, 0]).reshape(3, 4))
        np.testing.assert_allclose(op.vjp(like_outputs), op.vjp(u[:, 0]))
    for product, wrong in ((op.matvec, (11,)), (op.vjp, (4, 3)), (op.jvp, (op.size,))):
        with pytest.raises(ValueError, match="must have shape"):
            product(jnp.ones(wrong))


@pytest.mark.parametrize("chunk", [None, 2])
def test_rectangular_operators(chunk):
    with jax.enable_x64(True):
        model, params, state, x = network("mlp", n=5, dtype=jnp.float64)
        options = {"state": state, "mask": random_mask(params)}
        matrix = as_matrix(empirical_ntk(model, params, x[:3], x, **options))
        op = ntk_operator(model, params, x[:3], x, chunk=chunk, **options)
        assert op.shape == matrix.shape
        u, w = jnp.arange(20.0), jnp.arange(12.0)
        np.testing.assert_allclose(op.matvec(u), matrix @ u, rtol=1e-9)
        np.testing.assert_allclose(op.matvec(u.reshape(5, 4)), (matrix @ u).reshape(3, 4))
        np.testing.assert_allclose(op.rmatvec(w), matrix.T @ w, rtol=1e-9)
        with pytest.raises(ValueError, match=r"u must have shape \(20,\), \(5, 4\) or \(20, k\)"):
            op.matvec(w)
        with pytest.raises(ValueError, match="inputs differ in shape"):
            ntk_operator(model, params, x, x[:, :2], **options)
