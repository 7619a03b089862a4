"""Spectra, remainders and Gauss-Newton of a small network against dense matrices, in float64."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import optax
import pytest

from ntk_prune import linalg
from ntk_prune.inertial import gap, leverage, point, remainder, spectrum
from ntk_prune.inertial.plateau import exact_tail, plateau

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def net():
    return networks.network()


def test_ten_steps_lower_the_loss_of_a_network_of_83_weights(net):
    start = networks.masked_loss(0)
    assert net.loss.size == 83
    assert net.loss.value_and_gradient()[0] < start.value_and_gradient()[0]
    assert net.values[0] < 0 < net.values[-1]


def test_lanczos_against_the_dense_spectrum(net):
    ends = linalg.extreme_eigenpairs(KEY, net.loss.hessian(), top=4, bottom=3, num_steps=83)
    np.testing.assert_allclose(ends.top.values, net.values[::-1][:4], atol=1e-10)
    np.testing.assert_allclose(ends.bottom.values, net.values[:3], atol=1e-10)
    exact = leverage.leverage(net.vectors[:, -4:])
    np.testing.assert_allclose(leverage.leverage(ends.top.vectors), exact, atol=1e-8)


def test_shares_against_counts(net):
    probes = spectrum.quadratures(KEY, net.loss.hessian(), 30, 83)
    for threshold in (-1e-2, 1e-2):
        share = spectrum.share_below(probes, threshold)
        exact = (net.values < threshold).mean()
        assert abs(share.value - exact) < 4 * share.sem
        assert share.sem < 0.05
    rate = spectrum.plateau_rate(probes[:4], exact_tail)
    assert rate.n == 4
    assert rate.value == np.mean([plateau(exact_tail(*p)).share for p in probes[:4]])


def test_hutchinson_diagonal_within_four_standard_errors(net):
    estimate = linalg.diagonal(KEY, net.loss.hessian(), 200)
    assert (np.abs(estimate.value - np.diag(net.hessian)) <= 4.5 * estimate.sem + 1e-12).all()
    variance = np.square(net.hessian).sum(1) - np.diag(net.hessian) ** 2
    np.testing.assert_allclose(estimate.sem.sum(), np.sqrt(variance / 200).sum(), rtol=0.1)


@pytest.mark.parametrize(("density", "wrt"), [(1.0, "all"), (0.6, "all"), (0.6, "prunable")])
def test_gauss_newton_is_the_ntk(density, wrt):
    loss = networks.masked_loss(10, density=density, wrt=wrt)
    values, vectors = np.linalg.eigh(loss.gauss_newton().dense())
    pairs = spectrum.gauss_newton_eigenpairs(loss, 5)
    np.testing.assert_allclose(pairs.values, values[::-1][:5], rtol=1e-6)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(5), atol=1e-6)
    np.testing.assert_allclose(pairs.residuals, 0, atol=1e-8)
    same = leverage.leverage(pairs.vectors[:, :2]), leverage.leverage(vectors[:, -2:])
    np.testing.assert_allclose(*same, atol=1e-6)


def test_gauss_newton_has_no_more_pairs_than_its_rank(net):
    pairs = spectrum.gauss_newton_eigenpairs(net.loss, 83)
    assert len(pairs.values) <= 20 * 2  # softmax removes one direction of three
    exact = np.linalg.eigvalsh(net.loss.gauss_newton().dense())[::-1]
    np.testing.assert_allclose(pairs.values, exact[: len(pairs.values)], atol=1e-9)
    with pytest.raises(ValueError, match="k must be at least 1"):
        spectrum.gauss_newton_eigenpairs(net.loss, 0)


def test_distance_of_gauss_newton(net):
    exact = np.linalg.norm(net.hessian - net.loss.gauss_newton().dense(), 2)
    distance = spectrum.gauss_newton_distance(KEY, net.loss, num_steps=83)
    np.testing.assert_allclose(abs(distance.values[0]), exact, rtol=1e-8)


@pytest.mark.parametrize(("radius", "exact"), [(0.01, 0.0426), (0.1, 0.4393), (0.3, 1.408)])
def test_remainder_of_the_two_weight_network(radius, exact):
    loss = networks.two_weights()
    units = remainder.directions(KEY, loss, 100)
    bound = remainder.hessian_change(KEY, loss, radius, units, num_steps=2)
    np.testing.assert_allclose(bound.value, exact, rtol=5e-3)
    assert bound.value == bound.samples.max()
    pairs = remainder.difference_quotients(KEY, loss, radius, 100)
    assert 0.5 * exact < pairs.value <= exact * (1 + 1e-3)


def test_remainder_is_a_lower_bound_that_grows_with_the_radius(net):
    units = remainder.directions(KEY, net.loss, 1, net.vectors[:, -2:])
    assert units.shape == (1 + 2 * 3, 83)
    np.testing.assert_allclose(jnp.linalg.norm(units, axis=1), 1)
    small, large = (
        remainder.hessian_change(KEY, net.loss, r, units, num_steps=8) for r in (0.01, 0.1)
    )
    exact = [
        np.linalg.norm(net.loss.hessian(net.loss.w0 + 0.01 * u).dense() - net.hessian, 2)
        for u in units[:2]
    ]
    assert (small.samples[:2] <= np.array(exact) * (1 + 1e-9)).all()
    assert (small.samples[:2] >= 0.8 * np.array(exact)).all()
    assert large.value > 5 * small.value


def test_mask_certificate_equals_dense_blocks(net):
    kept = np.diag(net.hessian) < np.median(np.diag(net.hessian))
    points = np.stack([np.zeros(83), 0.01 * net.vectors[:, -1]])
    hessians = np.stack([net.loss.hessian(net.loss.w0 + v).dense() for v in points])
    dense = gap.coordinate_certificate(hessians, kept)
    assert not dense.holds  # coordinates ordered by the diagonal separate no spectrum
    matrix_free = remainder.mask_certificate(KEY, net.loss, kept, points, num_steps=60)
    first = gap.coordinate_certificate(hessians[:1], kept)  # it ends where it fails
    np.testing.assert_allclose(matrix_free, first, atol=1e-8)
    with pytest.raises(ValueError, match="kept coordinates and pruned ones"):
        remainder.mask_certificate(KEY, net.loss, np.ones(83, bool), points)


@pytest.mark.parametrize("k", [1, 3, 20])
def test_eigenspace_certificate_equals_dense_blocks(net, k):
    fast = net.vectors[:, -k:]
    points = np.stack([np.zeros(83), 0.01 * net.vectors[:, -1], 0.2 * net.vectors[:, 0]])
    hessians = np.stack([net.loss.hessian(net.loss.w0 + v).dense() for v in points])
    dense = gap.certificate(hessians, net.vectors[:, :-k], fast)
    matrix_free = remainder.eigenspace_certificate(KEY, net.loss, fast, points, num_steps=83)
    used = matrix_free.num_points
    np.testing.assert_allclose(
        matrix_free, gap.certificate(hessians[:used], net.vectors[:, :-k], fast), atol=1e-7
    )
    assert matrix_free.holds == dense.holds
    assert used == 3 or not dense.holds


def test_a_complement_with_negative_eigenvalues_alone_is_told_from_the_space():
    values = jnp.array([-3.0, -2.0, -1.0, 0.5])
    loss = point.FunctionLoss(lambda w: (values * w**2).sum() / 2, jnp.ones(4))
    fast = np.eye(4)[:, 3:]
    result = remainder.eigenspace_certificate(KEY, loss, fast, jnp.zeros((2, 4)))
    np.testing.assert_allclose(result, (-1.0, 0.5, 2), atol=1e-9)


def test_mask_certificate_moves_ritz_values_outwards():
    values = jnp.concatenate([jnp.linspace(0, 1, 40), jnp.linspace(1.05, 2, 43)])
    loss = point.FunctionLoss(lambda w: (values * w**2).sum() / 2, jnp.ones(83))
    kept = np.arange(83) < 40
    few = remainder.mask_certificate(KEY, loss, kept, jnp.zeros((1, 83)), num_steps=4)
    many = remainder.mask_certificate(KEY, loss, kept, jnp.zeros((1, 83)), num_steps=43)
    assert few.alpha > many.alpha
    assert few.beta < many.beta
    np.testing.assert_allclose(many, (1.0, 1.05, 1), atol=1e-8)


def test_the_wanted_statement_at_the_point(net):
    """Where trained little, a gap of the size the remainder asks for is rare; all is reported."""
    units = remainder.directions(KEY, net.loss, 2, net.vectors[:, -1:])
    lipschitz = remainder.hessian_change(KEY, net.loss, 0.1, units).value
    sets = [gap.admissible(net.values, lipschitz, c) for c in gap.CONSTANTS.values()]
    assert len(sets[0].gap) >= len(sets[2].gap)
    assert gap.explain(sets[2], net.values)
    gradient_norm = float(jnp.linalg.norm(net.loss.value_and_gradient()[1]))
    assert gap.exit_time(0.01, gradient_norm) < 1


def test_fast_split_sees_the_flow(net):
    pairs = linalg.Eigenpairs(net.values[-3:], net.vectors[:, -3:], np.zeros(3))
    split = point.fast_split(net.loss, pairs)
    np.testing.assert_allclose(split.velocity(jnp.zeros(83)), -net.loss.value_and_gradient()[1])
    v = jax.random.normal(KEY, (83,))
    np.testing.assert_allclose(split.slow(v) + split.fast(v), v, rtol=1e-12)
    r = net.hessian @ np.asarray(split.fast(v))
    np.testing.assert_allclose(split.solve(r), split.fast(v), atol=1e-10)


def test_divergence_and_products_that_are_not_finite():
    model = networks.masked_loss(0)
    with pytest.raises(FloatingPointError, match="not finite after 5 steps"):
        point.approximate_minimum(
            model.model, model.params, {}, model.mask, model.batches, optax.sgd(1e300), 5
        )
    bad = point.FunctionLoss(lambda w: jnp.sqrt(w[0]) + w[1] ** 2, jnp.array([0.0, 1.0]))
    with pytest.raises(FloatingPointError, match="gradient are not finite at W"):
        point.check_finite(bad, bad.hessian())
    good = networks.two_weights()
    point.check_finite(good, good.hessian())
