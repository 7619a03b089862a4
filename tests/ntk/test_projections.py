"""Kernels of combinations of the outputs, and what random ones estimate."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import network, random_mask

from ntk_prune.ntk import empirical_ntk, estimate_cost, jacobian, projected_ntk
from ntk_prune.ntk.backends.select import BACKENDS


@pytest.fixture(scope="module")
def case():
    model, params, state, x = network("mlp", n=3)
    return model, params, x, {"state": state, "mask": random_mask(params)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_projection_of_the_full_kernel(case, backend):
    model, params, x, options = case
    matrix = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    full = empirical_ntk(model, params, x, **options)
    expected = np.einsum("ca,ijcd,db->ijab", matrix, full, matrix)
    kernel = empirical_ntk(model, params, x, outputs=matrix, backend=backend, **options)
    np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-4)


def test_names_indices_and_projections_agree(case):
    model, params, x, options = case
    kernel = lambda outputs: empirical_ntk(model, params, x, outputs=outputs, **options)  # noqa: E731
    np.testing.assert_array_equal(kernel(2), kernel("class:2"))
    np.testing.assert_allclose(kernel(np.ones((4, 1)))[..., 0, 0], kernel("sum"), rtol=1e-5)
    plain = lambda p, x: model.apply(p, options["state"], x, train=False)[0]  # noqa: E731
    of_plain = empirical_ntk(plain, params, x, outputs=jnp.eye(4), mask=options["mask"])
    np.testing.assert_allclose(of_plain, kernel("full"), rtol=1e-5, atol=1e-5)
    j = jacobian(model, params, x, outputs=np.ones((4, 1)), **options)
    np.testing.assert_allclose(jnp.einsum("imp,jmp->ij", j, j), kernel("sum"), rtol=1e-4)
    assert estimate_cost(model, params, x, outputs=np.ones((4, 1)), **options).bytes_kernel == 36


def test_the_mean_over_all_signs_is_the_trace_kernel(case):
    model, params, x, options = case
    signs = np.array(list(itertools.product((-1, 1), repeat=4))).T  # each sign vector once
    each = np.einsum("ijkk->ijk", empirical_ntk(model, params, x, outputs=signs, **options))
    trace = empirical_ntk(model, params, x, outputs="trace", **options)
    np.testing.assert_allclose(each.mean(-1), trace, rtol=1e-4, atol=1e-4)
    estimate = projected_ntk(jax.random.key(1), model, params, x, num_projections=60, **options)
    assert estimate.n == 60
    law = each.std(-1) / np.sqrt(60)
    np.testing.assert_allclose(estimate.sem, law, rtol=0.4, atol=1e-3)
    assert (np.abs(estimate.value - trace) <= 4.5 * estimate.sem + 1e-3).all()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (4, "class:k with k < 4"),
        (-1, "class:k with k < 4"),
        (np.ones(4), r"or a matrix \[C, k\] of finite numbers .*, got float64 \(4,\)"),
        (np.full((4, 1), np.nan), "of finite numbers"),
        (np.ones((3, 2)), r"a projection of 4 outputs is \[4, k\], got \(3, 2\)"),
        (np.ones((4, 0)), "at least one"),
    ],
)
def test_what_is_no_combination_is_refused(case, outputs, message):
    model, params, x, options = case
    with pytest.raises(ValueError, match=message):
        empirical_ntk(model, params, x, outputs=outputs, **options)


def test_one_projection_has_no_standard_error(case):
    model, params, x, options = case
    with pytest.raises(ValueError, match="at least 2 projections"):
        projected_ntk(jax.random.key(0), model, params, x, num_projections=1, **options)
