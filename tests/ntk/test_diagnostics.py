"""Dense diagnostics: closed forms and the complaints about singular kernels."""

import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import network

from ntk_prune.ntk import diagnostics
from ntk_prune.ntk.empirical import empirical_ntk


def test_full_convention_becomes_a_matrix():
    blocks = np.arange(24.0).reshape(2, 3, 2, 2)
    matrix = diagnostics.as_matrix(blocks)
    assert matrix.shape == (4, 6)
    assert matrix[1 * 2 + 0, 2 * 2 + 1] == blocks[1, 2, 0, 1]
    with pytest.raises(ValueError, match="a kernel is"):
        diagnostics.as_matrix(np.zeros(3))


def test_norms_and_rank_of_known_spectra():
    kernel = np.diag([4.0, 4.0, 0.0])
    assert diagnostics.nuclear_norm(kernel) == 8.0
    np.testing.assert_allclose(diagnostics.effective_rank(kernel), 2.0)
    np.testing.assert_allclose(diagnostics.effective_rank(np.ones((5, 5))), 1.0, rtol=1e-6)
    assert diagnostics.condition_number(np.diag([8.0, 2.0])) == 4.0


def test_alignment_of_an_ideal_kernel_is_one():
    labels = np.array([0, 1, 1, 2, 0, 2])
    targets = np.eye(3)[labels] - np.eye(3)[labels].mean(0)
    np.testing.assert_allclose(diagnostics.label_alignment(targets @ targets.T, labels, 3), 1.0)
    full = np.einsum("ik,jl->ijkl", targets, targets)
    np.testing.assert_allclose(diagnostics.label_alignment(full, labels, 3), 1.0)


def test_relative_distance():
    kernel = np.eye(3)
    assert diagnostics.relative_distance(kernel, kernel) == 0.0
    np.testing.assert_allclose(diagnostics.relative_distance(1.5 * kernel, kernel), 0.5)
    with pytest.raises(ValueError, match="differ in shape"):
        diagnostics.relative_distance(kernel, np.eye(2))


def test_duplicated_inputs_are_named():
    model, params, state, x = network("mlp", n=5)
    x = x.at[3].set(x[1])
    kernel = empirical_ntk(model, params, x, state=state, accumulate="float64")
    assert diagnostics.duplicates(kernel) == [(1, 3)]
    assert diagnostics.eigenvalues(kernel)[-1] > -1e-9
    with pytest.raises(np.linalg.LinAlgError, match="inputs 1 and 3 have one Jacobian"):
        diagnostics.condition_number(kernel)
    single = empirical_ntk(model, params, x, state=state, outputs="trace")
    with pytest.raises(np.linalg.LinAlgError, match="inputs 1 and 3"):
        diagnostics.condition_number(single)


def test_an_indefinite_matrix_is_no_kernel():
    with pytest.raises(ValueError, match="not positive semi-definite"):
        diagnostics.eigenvalues(np.diag([1.0, -0.1]))
    with pytest.raises(ValueError, match="between different inputs"):
        diagnostics.eigenvalues(jnp.zeros((2, 3)))
