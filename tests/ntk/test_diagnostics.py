"""Dense diagnostics: closed forms and the complaints about singular kernels."""

import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import network

from ntk_prune.landscape import linear_cka
from ntk_prune.ntk import diagnostics, empirical_ntk


def test_full_convention_becomes_a_matrix():
    blocks = np.arange(24.0).reshape(2, 3, 2, 2)
    matrix = diagnostics.as_matrix(blocks)
    assert matrix.shape == (4, 6)
    assert matrix[1 * 2 + 0, 2 * 2 + 1] == blocks[1, 2, 0, 1]
    with pytest.raises(ValueError, match="a kernel is"):
        diagnostics.as_matrix(np.zeros(3))


def test_rank_and_condition_of_known_spectra():
    kernel = np.diag([4.0, 4.0, 0.0])
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


def random_kernels() -> tuple[np.ndarray, np.ndarray]:
    """Two kernels ``[6, 6]`` with distinct eigenvalues."""
    features = np.random.default_rng(0).normal(size=(2, 6, 6))
    return features[0] @ features[0].T, features[1] @ features[1].T


def test_alignment_does_not_see_scale_and_centred_not_the_shared_part():
    a, b = random_kernels()
    aligned = diagnostics.kernel_alignment(a, b)
    assert 0 < aligned < 0.9
    assert diagnostics.kernel_alignment(2 * a, 3 * b) == pytest.approx(aligned)
    assert diagnostics.kernel_alignment(a, 5 * a) == pytest.approx(1)
    assert diagnostics.kernel_alignment(a, 0 * a) == 0
    shift = np.arange(6.0)[:, None]
    centred = diagnostics.kernel_alignment(a, b, centred=True)
    assert diagnostics.kernel_alignment(a + shift + shift.T, b, centred=True) == (
        pytest.approx(centred)
    )
    assert diagnostics.kernel_alignment(a + shift + shift.T, b) != pytest.approx(aligned, rel=0.01)


def test_centred_alignment_of_linear_kernels_is_their_cka():
    x, y = np.random.default_rng(1).normal(size=(2, 9, 4)) + 1
    expected = linear_cka(x, y)
    assert diagnostics.kernel_alignment(x @ x.T, y @ y.T, centred=True) == pytest.approx(expected)
    full = [np.einsum("ij,kl->ijkl", v @ v.T, np.eye(2)) for v in (x, y)]
    assert diagnostics.kernel_alignment(*full, centred=True) == pytest.approx(expected)


def test_angles_of_a_rotated_eigenspace():
    angle = 0.3
    rotation = np.eye(4)
    rotation[np.ix_([0, 3], [0, 3])] = [
        [np.cos(angle), -np.sin(angle)],
        [np.sin(angle), np.cos(angle)],
    ]
    a = np.diag([4.0, 3.0, 1.0, 0.5])
    b = rotation @ a @ rotation.T
    np.testing.assert_allclose(diagnostics.principal_angles(a, b, 2), [0, angle], atol=1e-12)
    assert diagnostics.subspace_overlap(a, b, 2) == pytest.approx((1 + np.cos(angle) ** 2) / 2)
    assert diagnostics.subspace_overlap(a, b, 4) == pytest.approx(1)


def test_overlap_is_that_of_the_angles_and_in_the_full_convention():
    a, b = random_kernels()
    angles = diagnostics.principal_angles(a, b, 3)
    assert angles.tolist() == sorted(angles)
    overlap = diagnostics.subspace_overlap(a, b, 3)
    assert overlap == pytest.approx(np.mean(np.cos(angles) ** 2))
    blocks = [k.reshape(3, 2, 3, 2).transpose(0, 2, 1, 3) for k in (a, b)]
    assert diagnostics.subspace_overlap(*blocks, 3) == pytest.approx(overlap)


def test_eigenspaces_that_cannot_be_compared():
    a, b = random_kernels()
    for measure in (diagnostics.principal_angles, diagnostics.subspace_overlap):
        with pytest.raises(ValueError, match="1 to 6 dimensions here, got 7"):
            measure(a, b, 7)
        with pytest.raises(ValueError, match="differ in shape"):
            measure(a, b[:5, :5], 2)
        with pytest.raises(ValueError, match="between different inputs"):
            measure(a[:4], b[:4], 2)


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


def test_kernels_of_sequences_are_matrices_over_all_outputs():
    j = np.random.default_rng(0).normal(size=(3, 2, 4, 7))
    kernel = np.einsum("itcp,jsdp->ijtcsd", j, j)
    flat = j.reshape(-1, 7)
    np.testing.assert_allclose(diagnostics.as_matrix(kernel), flat @ flat.T, rtol=1e-12)
    with pytest.raises(ValueError, match="shape of the outputs twice"):
        diagnostics.as_matrix(np.ones((3, 3, 2, 4)))


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ([0, 1, -1], "must lie in 0..1, got -1 to 1"),
        ([0, 1, 2], "must lie in 0..1, got 0 to 2"),
        ([1, 1, 1], "all labels are of one class"),
        ([0, 1], "labels must be 3 integers"),
        ([0.0, 1.0, 1.0], "labels must be 3 integers, got float64"),
    ],
)
def test_labels_that_cannot_be(labels, error):
    with pytest.raises(ValueError, match=error):
        diagnostics.label_alignment(np.eye(3), labels, 2)


def test_nothing_is_measured_against_a_zero_kernel_or_one_that_is_not_finite():
    zero = np.zeros((3, 3))
    with pytest.raises(ValueError, match="the kernel is zero"):
        diagnostics.relative_distance(np.eye(3), zero)
    with pytest.raises(ValueError, match="the kernel is zero"):
        diagnostics.label_alignment(zero, [0, 1, 1], 2)
    broken = np.eye(3)
    broken[0, 1] = np.nan
    with pytest.raises(FloatingPointError, match="1 of 9 entries of the kernel are not finite"):
        diagnostics.eigenvalues(broken)
