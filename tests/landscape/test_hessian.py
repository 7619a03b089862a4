"""The Hessian of a masked loss against dense derivatives, laws and closed forms, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from ntk_prune import linalg, losses, masks, models
from ntk_prune.landscape.hessian import MaskedLoss
from ntk_prune.ntk import empirical_ntk
from ntk_prune.ntk.diagnostics import as_matrix
from ntk_prune.types import Batch, Model

KEY = jax.random.key(5)


class Network(nn.Module):
    """A convolution, batch norm and a linear layer."""

    @nn.compact
    def __call__(self, x, *, train):
        y = nn.Conv(3, (3, 3), padding=1, use_bias=False)(x)
        y = nn.softplus(models.BatchNorm()(y, train=train))
        return nn.Dense(3)(y.mean((1, 2)))


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def case():
    """``(model, params, state, mask, batches)`` with two batches, one entry of them unlabelled."""
    model = models.model(Network())
    x = jax.random.normal(KEY, (2, 4, 4, 4, 1), jnp.float64)
    y = jnp.array([[0, 1, 2, 0], [2, 1, 255, 0]])
    params, state = model.init(jax.random.key(1), x[0])
    state = model.apply(params, state, x[0], train=True)[1]
    params, state = jax.tree.map(lambda a: a.astype(jnp.float64), (params, state))
    rng = np.random.default_rng(0)
    mask = jax.tree.map(
        lambda p, prune: jnp.asarray(rng.random(p.shape) < (0.6 if prune else 2)),
        params,
        masks.prunable(params),
    )
    return model, params, state, mask, Batch(x, y)


def kept_positions(mask):
    return np.flatnonzero(ravel_pytree(mask)[0])


def dense_loss(model, params, state, mask, batches, batch_norm):
    """The mean loss of the 7 labelled entries as a function of all coordinates."""
    start, unravel = ravel_pytree(masks.apply(params, mask))

    def loss(flat):
        total = 0.0
        for x, y in zip(batches.x, batches.y, strict=True):
            logits = model.apply(unravel(flat), state, x, train=batch_norm == "batch")[0]
            log_p = jax.nn.log_softmax(logits)
            chosen = jnp.take_along_axis(log_p, (y % 255)[:, None], axis=1)[:, 0]
            total -= jnp.where(y == 255, 0.0, chosen).sum()
        return total / 7

    return loss, start


@pytest.mark.parametrize("batch_norm", ["running", "batch"])
def test_derivatives_equal_the_dense_ones(case, batch_norm):
    loss, start = dense_loss(*case, batch_norm)
    kept = kept_positions(case[3])
    surface = MaskedLoss(*case, batch_norm=batch_norm)
    value, gradient = surface.value_and_gradient()
    assert surface.size == kept.size < start.size
    np.testing.assert_allclose(value, jax.jit(loss)(start), rtol=1e-12)
    traced = jax.jit(jax.value_and_grad(surface.value))(surface.params)
    np.testing.assert_allclose(traced[0], value, rtol=1e-12)
    np.testing.assert_allclose(surface.coordinates.vector(traced[1]), gradient, rtol=1e-10)
    np.testing.assert_allclose(
        gradient, jax.jit(jax.grad(loss))(start)[kept], rtol=1e-10, atol=1e-14
    )
    exact = jax.jit(jax.hessian(loss))(start)[np.ix_(kept, kept)]
    dense = surface.hessian().dense()
    np.testing.assert_allclose(dense, exact, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(surface.w0, start[kept])


def test_estimators_agree_with_the_dense_hessian(case):
    surface = MaskedLoss(*case, batch_norm="running")
    operator, dense = surface.hessian(), surface.hessian().dense()
    values = np.linalg.eigvalsh(dense)
    ends = linalg.extreme_eigenpairs(KEY, operator, top=2, bottom=2, num_steps=operator.size)
    np.testing.assert_allclose(ends.top.values, values[::-1][:2], rtol=1e-8)
    np.testing.assert_allclose(ends.bottom.values, values[:2], atol=1e-10)
    start = jnp.ones(operator.size)
    compiled, host = (linalg.lanczos(operator, start, 5, on_device=d) for d in (True, False))
    np.testing.assert_allclose(compiled.dense, host.dense, rtol=1e-8, atol=1e-12)
    trace = linalg.trace(KEY, operator, 40)
    assert abs(trace.value - np.trace(dense)) < 4 * trace.sem
    diagonal = linalg.diagonal(KEY, operator, 40)
    assert (np.abs(diagonal.value - np.diag(dense)) < 5 * diagonal.sem + 1e-12).all()
    density = linalg.spectral_density(KEY, operator, num_probes=4, num_steps=10)
    step = density.grid[1] - density.grid[0]
    np.testing.assert_allclose(density.value.sum() * step, 1.0, rtol=1e-3)


def test_leaves_can_be_chosen(case):
    params, mask = case[1], case[3]
    convolutions = jax.tree.map(lambda p: p.ndim == 4, params)
    surface = MaskedLoss(*case, batch_norm="running", wrt=convolutions)
    whole = MaskedLoss(*case, batch_norm="running")
    inside = np.flatnonzero(
        ravel_pytree(jax.tree.map(lambda p, c: jnp.full(p.shape, c), params, convolutions))[0][
            kept_positions(mask)
        ]
    )
    assert surface.size == int(mask["Conv_0"]["kernel"].sum()) == inside.size
    dense = whole.hessian().dense()[np.ix_(inside, inside)]
    np.testing.assert_allclose(surface.hessian().dense(), dense, rtol=1e-12, atol=1e-15)
    moved = surface.params_at(surface.w0 + 1)
    np.testing.assert_array_equal(moved["Dense_0"]["bias"], params["Dense_0"]["bias"])
    expected = masks.apply(jax.tree.map(lambda p: p + 1, params), mask)["Conv_0"]["kernel"]
    np.testing.assert_allclose(moved["Conv_0"]["kernel"], expected, rtol=1e-15)


def test_away_from_the_start(case):
    """The gradient's difference quotient is the Hessian product, at any point."""
    surface = MaskedLoss(*case, batch_norm="batch")
    w = surface.w0 + 0.1 * jax.random.normal(KEY, (surface.size,))
    v = jax.random.normal(jax.random.key(9), (surface.size,))
    ahead, behind = (surface.value_and_gradient(w + h * v)[1] for h in (1e-5, -1e-5))
    product = surface.hessian(w).matvec(v)
    np.testing.assert_allclose((ahead - behind) / 2e-5, product, rtol=1e-5, atol=1e-8)


def test_gauss_newton_from_jacobians(case):
    model, _, state, _, batches = case
    surface = MaskedLoss(*case, batch_norm="running")
    dense = surface.gauss_newton().dense()
    logits_of = lambda w, x: model.apply(surface.params_at(w), state, x, train=False)[0]  # noqa: E731
    exact = 0.0
    for x, y in zip(batches.x, batches.y, strict=True):
        p = jax.nn.softmax(logits_of(surface.w0, x)) * (y != 255)[:, None]
        jacobian = jax.jit(jax.jacrev(logits_of))(surface.w0, x)
        weight = jax.vmap(jnp.diag)(p) - p[:, :, None] * p[:, None, :]
        exact += jnp.einsum("bkp,bkl,blq->pq", jacobian, weight, jacobian) / 7
    np.testing.assert_allclose(dense, exact, rtol=1e-10, atol=1e-14)
    assert np.linalg.eigvalsh(dense)[0] > -1e-12


def test_gauss_newton_of_squared_error_has_the_spectrum_of_the_kernel(case):
    model, params, state, mask, batches = case
    batches = Batch(batches.x[:1], batches.y[:1])
    surface = MaskedLoss(
        model, params, state, mask, batches, batch_norm="running", loss=losses.squared_error
    )
    kernel = empirical_ntk(model, params, batches.x[0], state=state, mask=mask)
    n, num_classes = kernel.shape[0], kernel.shape[2]
    expected = np.linalg.eigvalsh(as_matrix(kernel))[::-1] * 2 / (n * num_classes)
    values = np.linalg.eigvalsh(surface.gauss_newton().dense())[::-1]
    np.testing.assert_allclose(values[: expected.size], expected, rtol=1e-6, atol=1e-12)


def test_a_quadratic_loss_has_its_matrix_as_hessian():
    """``f(x) = x w`` with squared error: ``H = G = 2/C X^T X / n`` for every class."""
    model = Model(
        init=lambda key, x: ({"kernel": jnp.zeros((3, 2))}, {}),
        apply=lambda params, state, x, *, train, **_: (x @ params["kernel"], state),
    )
    x = jax.random.normal(KEY, (1, 6, 3))
    params, state = model.init(KEY, x[0])
    batches = Batch(x, jnp.zeros((1, 6), int))
    surface = MaskedLoss(
        model, params, state, masks.ones_like(params), batches,
        batch_norm="running", loss=losses.squared_error,
    )  # fmt: skip
    expected = np.kron(x[0].T @ x[0] / 6, np.eye(2))
    np.testing.assert_allclose(surface.hessian().dense(), expected, rtol=1e-12)
    np.testing.assert_allclose(surface.gauss_newton().dense(), expected, rtol=1e-12)


def test_bad_arguments(case):
    model, params, state, mask, batches = case
    with pytest.raises(ValueError, match="running or batch"):
        MaskedLoss(*case, batch_norm="train")  # pyright: ignore
    unlabelled = Batch(batches.x, jnp.full((2, 4), 255))
    with pytest.raises(ValueError, match="no entry of the batches is labelled"):
        MaskedLoss(model, params, state, mask, unlabelled, batch_norm="running")
    with pytest.raises(ValueError, match="wrt must be one of"):
        MaskedLoss(*case, batch_norm="running", wrt="convolutions")
    with pytest.raises(ValueError, match="structure"):
        MaskedLoss(*case, batch_norm="running", wrt={"a": True})
    nothing = jax.tree.map(jnp.zeros_like, mask)
    with pytest.raises(ValueError, match="no kept coordinate"):
        MaskedLoss(model, params, state, nothing, batches, batch_norm="running")
