"""How alike two networks' outputs are."""

import jax
import numpy as np
import pytest

from ntk_prune import landscape
from ntk_prune.models import mlp

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 4)) + 3, RNG.normal(size=(50, 7))
Y[:, :4] += X
BOTH = pytest.mark.parametrize("unbiased", [False, True])


def cka_by_gram(x, y, unbiased):
    """From the Gram matrices, as defined."""

    def hsic(a, b):
        n = len(a)
        k, l = a @ a.T, b @ b.T
        if not unbiased:
            centre = np.eye(n) - 1 / n
            return np.trace(k @ centre @ l @ centre)
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        return (
            np.trace(k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k @ l).sum() / (n - 2)
        )

    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


@BOTH
def test_cka_is_that_of_the_gram_matrices(unbiased):
    expected = cka_by_gram(X, Y, unbiased)
    assert 0.1 < expected < 0.9
    assert landscape.linear_cka(X, Y, unbiased=unbiased) == pytest.approx(expected, rel=1e-10)


@BOTH
def test_cka_does_not_see_rotations_shifts_scales_and_permutations(unbiased):
    rotation = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    expected = landscape.linear_cka(X, Y, unbiased=unbiased)
    for changed in (X @ rotation, -3 * X, X + RNG.normal(size=4), X[:, [2, 0, 3, 1]]):
        value = landscape.linear_cka(changed, Y, unbiased=unbiased)
        assert value == pytest.approx(expected, rel=1e-10)
        assert landscape.linear_cka(changed, X, unbiased=unbiased) == pytest.approx(1, rel=1e-10)
    stretched = landscape.linear_cka(X * [1, 1, 1, 9], Y, unbiased=unbiased)
    assert stretched != pytest.approx(expected, rel=1e-3)


def test_unbiased_cka_of_independent_features_is_near_zero():
    values = {False: [], True: []}
    for _ in range(200):
        x, y = RNG.normal(size=(2, 20, 10))
        for unbiased, list_ in values.items():
            list_.append(landscape.linear_cka(x, y, unbiased=unbiased))
    mean, sem = np.mean(values[True]), np.std(values[True]) / np.sqrt(200)
    assert abs(mean) < 4 * sem < 0.05
    assert np.mean(values[False]) > 0.25


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_outputs_are_like_nothing(unbiased, dtype):
    collapsed = np.full((50, 3), 0.1, dtype) + np.finfo(dtype).eps * (np.arange(50) % 2)[:, None]
    collapsed = collapsed.astype(dtype)
    for other in (collapsed, np.zeros((50, 3)), X):
        assert landscape.linear_cka(collapsed, other, unbiased=unbiased) == 0.0
    assert landscape.cosine(np.zeros(3), np.ones(3)) == 0.0


def test_small_variations_are_no_constants():
    assert landscape.linear_cka(1e-9 * X, Y) == pytest.approx(landscape.linear_cka(X, Y))


def test_divergence_is_that_of_the_distributions():
    p, q = (np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in (X, Y[:, :4]))
    m = (p + q) / 2
    kl = [(r * np.log(r / m)).sum(-1) for r in (p, q)]
    assert landscape.jensen_shannon(X, Y[:, :4]) == pytest.approx(np.mean(kl), rel=1e-8)
    assert landscape.jensen_shannon(X, X + 5) == pytest.approx(0, abs=1e-15)
    far = 1000 * np.eye(2)
    assert landscape.jensen_shannon(far, far[::-1]) == pytest.approx(np.log(2))


def test_networks_with_permuted_units_are_alike_in_everything():
    net = mlp((16,), 4)
    x = jax.random.normal(jax.random.key(0), (24, 6))
    params, state = net.init(jax.random.key(1), x[:1])
    order = jax.random.permutation(jax.random.key(2), 16)
    (first, hidden), (last, output) = sorted(params.items())
    permuted = {
        first: {"kernel": hidden["kernel"][:, order], "bias": hidden["bias"][order]},
        last: {"kernel": output["kernel"][order], "bias": output["bias"]},
    }
    a, b = (landscape.outputs(net, (p, state), [x[:16], x[16:]]) for p in (params, permuted))
    np.testing.assert_allclose(a, net.apply(params, state, x, train=False)[0], rtol=1e-5)
    assert landscape.agreement(a, b) == 1
    assert landscape.linear_cka(a, b) == pytest.approx(1)
    assert landscape.linear_cka(landscape.softmax(a), landscape.softmax(b), unbiased=True) > 0.9999
    assert landscape.jensen_shannon(a, b) < 1e-10
    assert landscape.cosine(a, b) == pytest.approx(1)
    doubled = jax.tree.map(lambda p: 2 * p, params)
    assert landscape.agreement(a, landscape.outputs(net, (doubled, state), [x])) < 1


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match=r"\(50, 4\) and \(49, 7\)"):
        landscape.linear_cka(X, Y[1:])
    with pytest.raises(ValueError, match="at least 4 examples"):
        landscape.linear_cka(X[:3], Y[:3], unbiased=True)
    for measure in (landscape.agreement, landscape.jensen_shannon, landscape.cosine):
        with pytest.raises(ValueError, match="same examples"):
            measure(X, Y)
    with pytest.raises(ValueError, match="no examples"):
        landscape.outputs(mlp((3,), 2), ({}, {}), [])
