"""Matrix-free spectra against eigh, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ntk_prune import linalg
from ntk_prune.linalg import SymmetricOperator, from_matrix

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


@pytest.mark.parametrize("on_device", [False, True])
def test_lanczos_relation_and_orthogonality(matrix, on_device):
    start = jax.random.normal(KEY, (SIZE,))
    found = linalg.lanczos(from_matrix(matrix), start, 15, on_device=on_device)
    q, t = found.basis, found.dense
    np.testing.assert_allclose(q.T @ q, np.eye(15), atol=1e-13)
    np.testing.assert_allclose(q.T @ matrix @ q, t, atol=1e-13)
    residual = matrix @ q - q @ t
    np.testing.assert_allclose(residual[:, :-1], 0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(residual[:, -1]), found.remainder, rtol=1e-8)


def test_residuals_are_the_true_ones_and_bound_the_error(matrix):
    start_key = jax.random.key(3)
    found = linalg.top_eigenvalues(start_key, from_matrix(matrix), 4, num_steps=8)
    start = jax.random.normal(start_key, (SIZE,))
    basis = linalg.lanczos(from_matrix(matrix), start, 8)
    values, vectors = np.linalg.eigh(basis.dense)
    for value, residual, s in zip(found.values, found.residuals, vectors.T[::-1], strict=False):
        y = basis.basis @ s
        true = np.linalg.norm(matrix @ y - value * y)
        np.testing.assert_allclose(residual, true, rtol=1e-6, atol=1e-13)
        assert np.abs(np.linalg.eigvalsh(matrix) - value).min() <= residual + 1e-13
    assert values[-1] == found.values[0]


def test_both_ends_of_an_indefinite_matrix_from_one_run(matrix):
    indefinite = matrix - 0.3 * np.eye(SIZE)
    top, bottom = linalg.extreme_eigenpairs(
        KEY, from_matrix(indefinite), top=3, bottom=2, num_steps=SIZE
    )
    exact = np.linalg.eigvalsh(indefinite)
    np.testing.assert_allclose(top.values, exact[::-1][:3], rtol=1e-12)
    np.testing.assert_allclose(bottom.values, exact[:2], rtol=1e-12)
    for pairs in (top, bottom):
        np.testing.assert_allclose(np.linalg.norm(pairs.vectors, axis=0), 1, rtol=1e-12)
        np.testing.assert_allclose(
            indefinite @ pairs.vectors, pairs.values * pairs.vectors, atol=1e-12
        )


def test_residuals_of_eigenpairs_before_they_converge(matrix):
    top, bottom = linalg.extreme_eigenpairs(KEY, from_matrix(matrix), top=2, bottom=2, num_steps=9)
    for pairs in (top, bottom):
        error = matrix @ pairs.vectors - pairs.values * pairs.vectors
        np.testing.assert_allclose(np.linalg.norm(error, axis=0), pairs.residuals, rtol=1e-8)
        assert pairs.residuals.max() > 1e-6


def test_lanczos_stops_in_an_invariant_subspace():
    diagonal = jnp.array([3.0, 3.0, 1.0, 1.0, 1.0])
    found = linalg.lanczos(from_matrix(jnp.diag(diagonal)), jnp.ones(5), 5)
    np.testing.assert_allclose(np.linalg.eigvalsh(found.dense), [1.0, 3.0], rtol=1e-12)
    assert found.remainder == 0


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_trace_and_norm_within_four_standard_errors(matrix, method):
    trace = linalg.trace(KEY, from_matrix(matrix), 60, method=method)
    assert abs(trace.value - np.trace(matrix)) < 4 * trace.sem
    norm = linalg.frobenius_norm(KEY, from_matrix(matrix), 60, method=method)
    assert abs(norm.value - np.linalg.norm(matrix)) < 4 * norm.sem + 1e-9
    assert trace.n == (60 if method == "hutchinson" else 20)


@pytest.mark.parametrize("estimator", [linalg.trace, linalg.frobenius_norm])
def test_standard_error_is_the_spread_of_the_estimate(matrix, estimator):
    runs = [estimator(k, from_matrix(matrix), 20) for k in jax.random.split(KEY, 40)]
    spread = np.std([run.value for run in runs], ddof=1)
    np.testing.assert_allclose(np.mean([run.sem for run in runs]), spread, rtol=0.35)


def test_diagonal_within_its_standard_errors_which_follow_the_law(matrix):
    found = linalg.diagonal(KEY, from_matrix(matrix), 4000)
    assert (np.abs(found.value - np.diag(matrix)) < 4.5 * found.sem).all()
    law = np.sqrt((np.sum(matrix**2, axis=1) - np.diag(matrix) ** 2) / found.n)
    np.testing.assert_allclose(found.sem, law, rtol=0.15)


def test_hutch_plus_plus_is_exact_on_low_rank():
    factor = np.random.default_rng(1).normal(size=(SIZE, 5))
    found = linalg.trace(KEY, from_matrix(factor @ factor.T), 30, method="hutch++")
    np.testing.assert_allclose(found.value, np.sum(factor**2), rtol=1e-10)


def test_spectral_density(matrix):
    density = linalg.spectral_density(KEY, from_matrix(matrix), num_probes=20)
    step = density.grid[1] - density.grid[0]
    np.testing.assert_allclose(density.value.sum() * step, 1.0, rtol=1e-3)
    mean = (density.value * density.grid).sum() * step
    np.testing.assert_allclose(mean, np.trace(matrix) / SIZE, rtol=0.1)
    assert density.value.shape == density.sem.shape == density.grid.shape
    assert density.n == 20


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_density_of_one_eigenvalue_is_finite(value):
    density = linalg.spectral_density(KEY, from_matrix(value * np.eye(5)))
    step = density.grid[1] - density.grid[0]
    np.testing.assert_allclose(density.value.sum() * step, 1.0, rtol=1e-3)


def test_multiple_eigenvalues_are_all_seen():
    diagonal = [3.0, 3.0, 3.0, 1.0, 1.0]
    top = linalg.top_eigenvalues(KEY, from_matrix(np.diag(diagonal)), 4)
    np.testing.assert_allclose(top.values, diagonal[:4], rtol=1e-12)
    ends = linalg.extreme_eigenpairs(KEY, from_matrix(np.eye(4)), top=2, bottom=2)
    for pairs in ends:
        np.testing.assert_allclose(pairs.values, 1.0, rtol=1e-12)
        np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(2), atol=1e-12)
    one = linalg.top_eigenvalues(KEY, from_matrix(np.array([[2.0]])), 1)
    np.testing.assert_allclose(one.values, [2.0])


def test_condition_numbers_say_whether_they_have_converged(matrix):
    exact = np.linalg.cond(matrix)
    early = linalg.condition_number(KEY, from_matrix(matrix), num_steps=6)
    late = linalg.condition_number(KEY, from_matrix(matrix), num_steps=SIZE)
    assert early.value < 0.1 * exact
    assert not early.converged
    assert late.converged


SPECTRA = {
    "uniform": np.linspace(0, 1, SIZE),
    "geometric": 0.8 ** np.arange(SIZE),
    "outliers": np.concatenate([np.linspace(0, 0.1, SIZE - 3), [1.0, 2.0, 3.0]]),
    "indefinite": np.linspace(-1, 1, SIZE) ** 3,
}


@pytest.mark.slow
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [6, 20])
def test_intervals_cover_what_they_say(spectrum, n):
    """95 % intervals of few probes over 200 repetitions; each count of misses within its own 99.9 %
    range (binomial, 200 draws at 0.05: at most 22), and the share of all within 0.92 to 0.98."""
    values = SPECTRA[spectrum]
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))[0]
    dense = (q * values) @ q.T
    operator, covered = from_matrix(dense), []
    for key in jax.random.split(jax.random.key(n), 200):
        estimates = (
            (linalg.trace(key, operator, n), values.sum()),
            (linalg.frobenius_norm(key, operator, n), np.linalg.norm(values)),
        )
        covered.append([abs(e.value - exact) <= e.half_width() for e, exact in estimates])
    shares = np.mean(covered, axis=0)
    assert (shares >= 0.89).all(), shares
    assert shares.mean() <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_intervals_of_densities_cover_what_they_say(spectrum):
    """Pointwise, of the density smoothed by the same width, where there is any."""
    values = SPECTRA[spectrum]
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(SIZE, SIZE)))[0]
    operator, covered = from_matrix((q * values) @ q.T), []
    for key in jax.random.split(jax.random.key(1), 60):
        width = 0.05 * np.ptp(values)
        grid = np.linspace(values.min(), values.max(), 30)
        estimate = linalg.spectral_density(key, operator, num_steps=32, grid=grid, width=width)
        z = (grid[:, None] - values) / width
        exact = np.exp(-(z**2) / 2).mean(1) / (width * np.sqrt(2 * np.pi))
        half = stats.t.ppf(0.975, estimate.n - 1) * estimate.sem
        covered.append((np.abs(estimate.value - exact) <= half)[exact > 1e-2 * exact.max()])
    # A lone eigenvalue has a chi-squared weight in every probe, which the t interval does not know.
    least = 0.85 if spectrum == "outliers" else 0.90
    assert least <= np.mean(covered) <= 0.985


def test_condition_number(matrix):
    shifted = matrix + 0.01 * np.eye(SIZE)
    found = linalg.condition_number(KEY, from_matrix(shifted), num_steps=SIZE)
    np.testing.assert_allclose(found.value, np.linalg.cond(shifted), rtol=1e-6)
    projector = np.diag([1.0, 2.0, 0.0])
    with pytest.raises(FloatingPointError, match="zero to working precision"):
        linalg.condition_number(KEY, from_matrix(projector), num_steps=3)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda f: linalg.trace(KEY, f, 1), "at least 2 probes"),
        (lambda f: linalg.trace(KEY, f, 5, method="hutch++"), "at least 6 probes"),
        (lambda f: linalg.trace(KEY, f, 5, method="exact"), "hutchinson or hutch"),
        (lambda f: linalg.diagonal(KEY, f, 1), "at least 2 probes"),
        (lambda f: linalg.extreme_eigenpairs(KEY, f, top=3, bottom=2), r"must lie in 1\.\.4"),
        (lambda f: linalg.extreme_eigenpairs(KEY, f, top=0, bottom=0), r"must lie in 1\.\.4"),
        (lambda f: linalg.top_eigenvalues(KEY, f, 5), r"k must lie in 1\.\.4"),
        (lambda f: linalg.spectral_density(KEY, f, num_probes=1), "at least 2 probes"),
    ],
)
def test_bad_arguments(call, error):
    with pytest.raises(ValueError, match=error):
        call(SymmetricOperator(lambda v: v, 4, float))


def test_operators_have_differences_and_dense_matrices(matrix):
    difference = from_matrix(matrix) - from_matrix(np.eye(SIZE))
    np.testing.assert_allclose(difference.dense(), matrix - np.eye(SIZE), rtol=1e-14)
    with pytest.raises(ValueError, match="sizes 48 and 3"):
        from_matrix(matrix) - from_matrix(np.eye(3))
    with pytest.raises(ValueError, match="square"):
        from_matrix(np.ones((2, 3)))
