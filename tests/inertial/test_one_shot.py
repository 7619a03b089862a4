"""The largest one-shot sparsity and overlaps."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest

from ntk_prune.inertial import leverage, one_shot
from ntk_prune.linalg import Quadrature


def delta(square, values, epsilon):
    """``1/d sum_i r_i^2 / (R^2 + r_i^2)`` as printed."""
    r = 2 * epsilon / np.maximum(np.abs(values), 1e-300)
    return np.mean(r / (square + r))


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2, 1.0])
def test_fixed_point(epsilon):
    rng = np.random.default_rng(0)
    weights, values = rng.normal(size=300), rng.normal(size=300) ** 3
    rho = one_shot.predicted_sparsity(weights, values, np.full(300, 1 / 300), epsilon)
    order = np.sort(weights**2)
    pruned = int(rho * 300)
    low, high = order[:pruned].sum(), order[: pruned + 1].sum()
    assert delta(high, values, epsilon) <= rho + 1e-9
    assert rho - 1e-9 <= delta(low, values, epsilon)


def test_flat_or_dead_directions_can_all_go():
    assert one_shot.predicted_sparsity(np.ones(10), [0.0], [1.0], 0.1) == 1.0
    assert one_shot.predicted_sparsity(np.zeros(10), [5.0], [1.0], 0.1) == 1.0
    half = one_shot.predicted_sparsity(np.full(1000, 100.0), [0.0, 1e9], [0.5, 0.5], 0.1)
    np.testing.assert_allclose(half, 0.5, atol=1e-6)
    with pytest.raises(ValueError, match="epsilon must be positive"):
        one_shot.predicted_sparsity(np.ones(3), [1.0], [1.0], 0.0)


def test_flatter_spectra_prune_more():
    weights = np.linspace(0, 1, 50)
    limits = [one_shot.predicted_sparsity(weights, [c], [1.0], 0.1) for c in (0.1, 1.0, 10.0)]
    assert limits[0] > limits[1] > limits[2]


def test_spread_over_probes():
    probes = [Quadrature(np.array([c]), np.ones(1)) for c in (1.0, 2.0)]
    limit = one_shot.sparsity_limit(np.ones(20), probes, 0.5)
    assert limit.n == 2
    assert limit.sem > 0


def test_overlap_of_a_mask():
    net = networks.network()
    with jax.enable_x64(True):
        coordinates = net.loss.coordinates
        vectors = net.vectors[:, -4:]
        kept = np.isin(np.arange(83), np.argsort(-leverage.leverage(vectors))[:20])
        mask = jax.tree.map(lambda leaf: leaf > 0, coordinates.tree(jnp.asarray(kept, float)))
        best = one_shot.mask_overlap(mask, coordinates, vectors)
        assert best == leverage.captured(vectors, kept)
        assert best.chance == 20 / 83
        assert best.share > best.chance
