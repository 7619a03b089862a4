"""Kernel regression against numpy's solve, the gradient flow, and its own optimality."""

import numpy as np
import pytest

from ntk_prune.ntk import gradient_flow, kernel_regression
from ntk_prune.ntk.diagnostics import as_matrix

RNG = np.random.default_rng(0)
J = RNG.normal(size=(5, 2, 30))
NEW = RNG.normal(size=(3, 2, 30))
FULL, CROSS = np.einsum("icp,jdp->ijcd", J, J), np.einsum("icp,jdp->ijcd", NEW, J)
TRACE, CROSS_TRACE = np.einsum("ijkk->ij", FULL), np.einsum("ijkk->ij", CROSS)
Y, F0, G0 = RNG.normal(size=(5, 2)), RNG.normal(size=(5, 2)), RNG.normal(size=(3, 2))


@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_equals_the_dual_solve(ridge):
    fitted = kernel_regression(FULL, Y, ridge=ridge, f0=F0)
    dual = np.linalg.solve(as_matrix(FULL) + ridge * np.eye(10), (Y - F0).ravel())
    expected = G0 + (as_matrix(CROSS) @ dual).reshape(3, 2)
    np.testing.assert_allclose(fitted.predict(CROSS, G0), expected, rtol=1e-9)
    shared = kernel_regression(TRACE, Y, ridge=ridge)
    expected = CROSS_TRACE @ np.linalg.solve(TRACE + ridge * np.eye(5), Y)
    np.testing.assert_allclose(shared.predict(CROSS_TRACE), expected, rtol=1e-9)


def test_without_a_ridge_it_interpolates_and_ends_the_flow():
    fitted = kernel_regression(FULL, Y, f0=F0)
    np.testing.assert_allclose(fitted.predict(FULL, F0), Y, rtol=1e-9)
    at_rest = gradient_flow(FULL, F0, Y).test(np.inf, G0, CROSS)
    np.testing.assert_allclose(fitted.predict(CROSS, G0), at_rest, rtol=1e-9)
    np.testing.assert_allclose(kernel_regression(TRACE, Y).predict(TRACE), Y, rtol=1e-9)


def test_the_ridge_solution_is_a_minimum():
    """The gradient of ``|K a - y|^2 + ridge a' K a`` vanishes."""
    dual = kernel_regression(FULL, Y, ridge=0.3).dual.ravel()
    matrix = as_matrix(FULL)
    gradient = matrix @ (matrix @ dual - Y.ravel()) + 0.3 * matrix @ dual
    np.testing.assert_allclose(gradient, 0, atol=1e-10)


def test_duplicated_inputs_get_their_mean_target():
    rows = [0, 1, 1]
    kernel = FULL[np.ix_(rows, rows)].astype(np.float32)
    y = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    np.testing.assert_allclose(kernel_regression(kernel, y).predict(kernel)[:, 0], [1, 3, 3],
                               rtol=1e-4)  # fmt: skip
    flat = kernel_regression(TRACE[:1, :1], np.array([3.0]))  # targets without an axis of outputs
    np.testing.assert_allclose(flat.predict(TRACE[:1, :1]), [3.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_regression(FULL, Y, ridge=-1.0), "ridge must be a finite number"),
        (lambda: kernel_regression(FULL, Y[:3]), "between the 3 inputs"),
        (lambda: kernel_regression(CROSS, Y), "between the 5 inputs"),
        (lambda: kernel_regression(FULL, Y[:, :1]), "does not fit targets"),
        (lambda: kernel_regression(FULL, Y, f0=F0[:1]), "f0 must have the shape"),
        (lambda: kernel_regression(FULL * np.nan, Y), "kernel has entries that are not finite"),
        (lambda: kernel_regression(FULL, Y * np.inf), "residual y - f0 has entries"),
        (lambda: kernel_regression(TRACE - 1e4, Y, ridge=0.1), "not positive definite"),
        (lambda: kernel_regression(FULL, Y).predict(CROSS[:, :2]), "does not fit targets"),
        (lambda: kernel_regression(FULL, Y).predict(CROSS, G0[:1]), "f0 must have the shape"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
