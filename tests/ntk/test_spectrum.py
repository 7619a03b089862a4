"""Matrix-free spectra against eigh, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import network, random_mask

from ntk_prune.ntk import spectrum
from ntk_prune.ntk.diagnostics import as_matrix
from ntk_prune.ntk.empirical import empirical_ntk
from ntk_prune.ntk.operators import ntk_operator

SIZE = 48
KEY = jax.random.key(7)


@pytest.fixture
def matrix():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0]
    return (q * 0.8 ** np.arange(SIZE)) @ q.T


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def test_lanczos_equals_eigh_on_a_kernel():
    model, params, state, x = network("mlp", n=12, dtype=jnp.float64)
    options = {"state": state, "mask": random_mask(params)}
    op = ntk_operator(model, params, x, **options)
    exact = np.linalg.eigvalsh(as_matrix(empirical_ntk(model, params, x, **options)))[::-1]
    found = spectrum.top_eigenvalues(op.matvec, op.size, 6, KEY)
    np.testing.assert_allclose(found.values, exact[:6], rtol=1e-10)
    assert (found.residuals < 1e-8 * exact[0]).all()


@pytest.mark.parametrize("on_device", [False, True])
def test_lanczos_relation_and_orthogonality(matrix, on_device):
    start = jax.random.normal(KEY, (SIZE,))
    found = spectrum.lanczos(lambda v: matrix @ v, start, 15, on_device=on_device)
    q, t = found.basis, found.dense
    np.testing.assert_allclose(q.T @ q, np.eye(15), atol=1e-13)
    np.testing.assert_allclose(q.T @ matrix @ q, t, atol=1e-13)
    residual = matrix @ q - q @ t
    np.testing.assert_allclose(residual[:, :-1], 0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(residual[:, -1]), found.remainder, rtol=1e-8)


def test_residuals_are_the_true_ones_and_bound_the_error(matrix):
    start_key = jax.random.key(3)
    found = spectrum.top_eigenvalues(lambda v: matrix @ v, SIZE, 4, start_key, num_steps=8)
    start = jax.random.normal(start_key, (SIZE,))
    basis = spectrum.lanczos(lambda v: matrix @ v, start, 8)
    values, vectors = np.linalg.eigh(basis.dense)
    for value, residual, s in zip(found.values, found.residuals, vectors.T[::-1], strict=False):
        y = basis.basis @ s
        true = np.linalg.norm(matrix @ y - value * y)
        np.testing.assert_allclose(residual, true, rtol=1e-6, atol=1e-13)
        assert np.abs(np.linalg.eigvalsh(matrix) - value).min() <= residual + 1e-13
    assert values[-1] == found.values[0]


def test_lanczos_stops_in_an_invariant_subspace():
    diagonal = jnp.array([3.0, 3.0, 1.0, 1.0, 1.0])
    found = spectrum.lanczos(lambda v: diagonal * v, jnp.ones(5), 5)
    np.testing.assert_allclose(np.linalg.eigvalsh(found.dense), [1.0, 3.0], rtol=1e-12)
    assert found.remainder == 0


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_trace_and_norm_within_four_standard_errors(matrix, method):
    product = lambda v: matrix @ v  # noqa: E731
    trace = spectrum.trace(product, SIZE, KEY, 60, method=method)
    assert abs(trace.value - np.trace(matrix)) < 4 * trace.sem
    norm = spectrum.frobenius_norm(product, SIZE, KEY, 60, method=method)
    assert abs(norm.value - np.linalg.norm(matrix)) < 4 * norm.sem + 1e-9
    assert trace.n == (60 if method == "hutchinson" else 20)


@pytest.mark.parametrize("estimator", [spectrum.trace, spectrum.frobenius_norm])
def test_standard_error_is_the_spread_of_the_estimate(matrix, estimator):
    product = jax.jit(lambda v: matrix @ v)
    runs = [estimator(product, SIZE, k, 20) for k in jax.random.split(KEY, 40)]
    spread = np.std([run.value for run in runs], ddof=1)
    np.testing.assert_allclose(np.mean([run.sem for run in runs]), spread, rtol=0.35)


def test_hutch_plus_plus_is_exact_on_low_rank():
    factor = np.random.default_rng(1).normal(size=(SIZE, 5))
    found = spectrum.trace(lambda v: factor @ (factor.T @ v), SIZE, KEY, 30, method="hutch++")
    np.testing.assert_allclose(found.value, np.sum(factor**2), rtol=1e-10)


def test_spectral_density(matrix):
    density = spectrum.spectral_density(lambda v: matrix @ v, SIZE, KEY, num_probes=20)
    step = density.grid[1] - density.grid[0]
    np.testing.assert_allclose(density.value.sum() * step, 1.0, rtol=1e-3)
    mean = (density.value * density.grid).sum() * step
    np.testing.assert_allclose(mean, np.trace(matrix) / SIZE, rtol=0.1)
    assert density.value.shape == density.sem.shape == density.grid.shape
    assert density.n == 20


def test_condition_number(matrix):
    shifted = matrix + 0.01 * np.eye(SIZE)
    found = spectrum.condition_number(lambda v: shifted @ v, SIZE, KEY, num_steps=SIZE)
    np.testing.assert_allclose(found.value, np.linalg.cond(shifted), rtol=1e-6)
    projector = np.diag([1.0, 2.0, 0.0])
    with pytest.raises(FloatingPointError, match="zero to working precision"):
        spectrum.condition_number(lambda v: projector @ v, 3, KEY, num_steps=3)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda f: spectrum.trace(f, 4, KEY, 1), "at least 2 probes"),
        (lambda f: spectrum.trace(f, 4, KEY, 5, method="hutch++"), "at least 6 probes"),
        (lambda f: spectrum.trace(f, 4, KEY, 5, method="exact"), "hutchinson or hutch"),
        (lambda f: spectrum.top_eigenvalues(f, 4, 5, KEY), r"k must lie in 1\.\.4"),
        (lambda f: spectrum.spectral_density(f, 4, KEY, num_probes=1), "at least 2 probes"),
    ],
)
def test_bad_arguments(call, error):
    with pytest.raises(ValueError, match=error):
        call(lambda v: v)
