"""The criterion that ranks weights by their part in eigenspaces, against dense ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_problem import flat, problem

from ntk_prune import masks
from ntk_prune.inertial import leverage
from ntk_prune.landscape.hessian import MaskedLoss
from ntk_prune.pruners import PRUNERS
from ntk_prune.types import Batch

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def network():
    with jax.enable_x64(True):
        return problem()


def scores(network, **options):
    return flat(PRUNERS["imc"](steps=0, directions=3, **options).score(KEY, *network))


def dense(network, *, curvature="gauss_newton"):
    """The matrix at the given weights and the positions of its prunable coordinates."""
    model, params, state, mask, batches = network
    loss = MaskedLoss(model, params, state, mask, batches, batch_norm="running")
    ones = jax.tree.map(jnp.ones_like, params)
    prunable = np.asarray(loss.coordinates.vector(masks.only_prunable(ones))) > 0
    return getattr(loss, curvature)().dense(), prunable


def kept(network):
    return np.asarray(flat(network[3]))


@pytest.mark.parametrize("curvature", ["gauss_newton", "hessian", "ntk"])
def test_leverage_of_the_dense_eigenvectors(network, curvature):
    matrix, prunable = dense(
        network, curvature="hessian" if curvature == "hessian" else "gauss_newton"
    )
    exact = leverage.leverage(np.linalg.eigh(matrix)[1][:, -3:])
    fast = scores(network, curvature=curvature)
    np.testing.assert_allclose(fast[kept(network)], exact[prunable], atol=1e-7)
    assert (fast[~kept(network)] == 0).all()
    slow = scores(network, curvature=curvature, reading="slow")
    np.testing.assert_allclose(slow, -fast, rtol=1e-12)


def test_rrqr_takes_a_well_conditioned_set_first(network):
    fast, first = scores(network), scores(network, coordinates="rrqr")
    raised = first - fast
    assert set(np.round(raised, 9).tolist()) <= {0.0, 1.0}
    assert 1 <= round(float(raised.sum())) <= 3  # of three, some may be biases


def test_diagonal_within_four_standard_errors(network):
    matrix, prunable = dense(network, curvature="hessian")
    estimate = scores(network, coordinates="diagonal", num_probes=400)[kept(network)]
    exact = np.diag(matrix)
    sem = np.sqrt((np.square(matrix).sum(1) - exact**2) / 400)
    assert (np.abs(estimate - exact[prunable]) <= 4 * sem[prunable] + 1e-12).all()


def test_magnitude_is_that_of_the_trained_weights(network):
    model, params, state, mask, batches = network
    np.testing.assert_allclose(
        scores(network, coordinates="magnitude"), np.abs(flat(params)) * kept(network)
    )
    pruner = PRUNERS["imc"](coordinates="magnitude", steps=4, learning_rate=0.5, momentum=0.0)
    trained = params
    for t in range(4):
        one = Batch(batches.x[t % 2][None], batches.y[t % 2][None])
        loss = MaskedLoss(model, trained, state, mask, one, batch_norm="running")
        step = loss.coordinates.tree(loss.value_and_gradient()[1])
        trained = jax.tree.map(lambda p, g: p - 0.5 * g, trained, step)
    expected = np.abs(flat(trained)) * kept(network)
    np.testing.assert_allclose(flat(pruner.score(KEY, *network)), expected, rtol=1e-10)


def test_bad_options_and_bad_products(network):
    for options, text in (
        ({"reading": "both"}, "unknown reading 'both'; choose one of fast, slow"),
        ({"coordinates": "random"}, "unknown coordinates"),
        ({"curvature": "fisher"}, "unknown curvature"),
        ({"directions": 0}, "directions must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
    ):
        with pytest.raises(ValueError, match=text):
            PRUNERS["imc"](**options)
    model, params, state, mask, batches = network
    spoiled = Batch(jnp.asarray(batches.x).at[0, 0, 0].set(jnp.nan), batches.y)
    with pytest.raises(FloatingPointError, match="not finite"):
        PRUNERS["imc"](steps=0).score(KEY, model, params, state, mask, spoiled)
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        PRUNERS["imc"](learning_rate=1e300).score(KEY, *network)
