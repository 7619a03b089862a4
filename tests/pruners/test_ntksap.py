"""NTK-SAP: its saliency by brute force, the limits of its estimators, and its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny_problem import KEY, flat, problem

from ntk_prune import masks
from ntk_prune.models import BatchNorm, resnet
from ntk_prune.models import model as adapter
from ntk_prune.pruners import ntksap
from ntk_prune.pruners.ntksap import draw_inputs, draw_perturbation, redraw, saliency
from ntk_prune.types import Batch


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


_saliency = jax.jit(saliency, static_argnames=("model", "estimator"))


def test_saliency_is_the_derivative_of_the_squared_difference():
    model, params, state, mask, batches = problem("relu")
    z, delta = batches.x[0], draw_perturbation(KEY, params, 0.01)
    moved = jax.tree.map(jnp.add, params, delta)
    m = masks.as_float(mask, params)

    def objective(layer, index, step):
        at = {**m, layer: {**m[layer], "kernel": m[layer]["kernel"].at[index].add(step)}}
        outputs = [
            model.apply(masks.apply(p, at), state, z, train=False)[0] for p in (params, moved)
        ]
        return float(jnp.square(outputs[0] - outputs[1]).sum())

    ours = _saliency(model, params, state, mask, z, delta)
    for layer, index in [("fc0", (0, 1)), ("fc1", (2, 3)), ("fc2", (1, 1)), ("fc2", (3, 2))]:
        slope = (objective(layer, index, 1e-6) - objective(layer, index, -1e-6)) / 2e-6
        assert float(ours[layer]["kernel"][index]) == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_trace_is_the_derivative_of_the_kernels_trace():
    model, params, state, mask, batches = problem("gelu")
    sigma = masks.only_prunable(jax.tree.map(lambda p: jnp.full_like(p, 0.01), params))

    def trace(m):
        def f(kernels):
            filled = {n: {**params[n], "kernel": k} for n, k in kernels.items()}
            return model.apply(masks.apply(filled, m), state, batches.x[0], train=False)[0]

        jacobian = jax.jacrev(f)({name: leaf["kernel"] for name, leaf in params.items()})
        return 1e-4 * sum(jnp.square(j).sum() for j in jax.tree.leaves(jacobian))

    expected = flat(jax.grad(trace)(masks.as_float(mask, params)))
    args = (model, params, state, mask, batches.x[0], sigma, "trace")
    whole = flat(_saliency(*args))
    np.testing.assert_allclose(whole, expected, rtol=1e-9)
    parts = sum(flat(_saliency(*args, jnp.asarray(k))) for k in range(3))
    np.testing.assert_allclose(parts, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("activation", "smooth"), [("softplus", True), ("gelu", True), ("relu", False)]
)
def test_finite_difference_converges_to_jvp_for_smooth_networks_alone(activation, smooth):
    model, params, state, _, _ = problem(activation, widths=(40, 40))
    z = jax.random.normal(KEY, (60, 4))
    mask, direction = masks.ones_like(params), draw_perturbation(KEY, params, 1.0)
    distances = []
    for epsilon in (1e-2, 1e-3, 1e-4):
        delta = jax.tree.map(lambda d, e=epsilon: e * d, direction)
        fd, jvp = (
            flat(_saliency(model, params, state, mask, z, delta, e))
            for e in ("finite_difference", "jvp")
        )
        distances.append(float(jnp.linalg.norm(fd - jvp) / jnp.linalg.norm(jvp)))
    if smooth:  # the error is of first order in epsilon
        assert distances[2] < distances[0] / 50
        assert distances[2] < 1e-3
    else:  # the units that flip do not die out
        assert distances[2] > 0.1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_mean_of_jvp_over_perturbations_is_the_trace(seed):
    model, params, state, mask, batches = problem("softplus")
    sigma = masks.only_prunable(jax.tree.map(lambda p: jnp.full_like(p, 0.01), params))
    exact = flat(_saliency(model, params, state, mask, batches.x[0], sigma, "trace"))

    @jax.jit
    @jax.vmap
    def draw(key):
        delta = draw_perturbation(key, params, 0.01)
        return flat(saliency(model, params, state, mask, batches.x[0], delta, "jvp"))

    draws = draw(jax.random.split(jax.random.key(seed), 2000))
    error = draws.std(0) / np.sqrt(len(draws))
    z = (draws.mean(0) - exact)[error > 0] / error[error > 0]
    assert jnp.abs(z).max() < 4.5  # the largest of 50 normal deviates
    assert jnp.square(z).mean() < 3


def test_pruned_weights_score_zero_and_others_a_magnitude():
    model, params, state, mask, batches = problem("softplus")
    score = flat(ntksap(num_draws=2).score(KEY, model, params, state, mask, batches))
    assert not score[~flat(mask)].any()
    assert (score[flat(mask)] > 0).all()


@pytest.mark.parametrize("estimator", ["finite_difference", "jvp", "trace"])
def test_draws_per_call_does_not_matter(estimator):
    model, params, state, mask, batches = problem("softplus")
    one, three = (
        ntksap(num_draws=2, estimator=estimator, draws_per_call=n).score(
            KEY, model, params, state, mask, batches
        )
        for n in (1, 3)
    )
    np.testing.assert_allclose(flat(one), flat(three), rtol=1e-9)


def test_the_absolute_value_comes_after_the_sum():
    model, params, state, mask, batches = problem("softplus")
    score = flat(ntksap(num_draws=1).score(KEY, model, params, state, mask, batches))
    signed = []
    for key, x in zip(jax.random.split(KEY, 2), batches.x, strict=True):
        of_weights, of_inputs, of_perturbation = jax.random.split(key, 3)
        weights = redraw(params, model.init(of_weights, x)[0])
        z = draw_inputs(of_inputs, x, "normal")
        delta = draw_perturbation(of_perturbation, params, 0.01)
        signed.append(flat(_saliency(model, weights, state, mask, z, delta)))
    # The initialiser draws in float32, and rounds differently inside a jitted function.
    np.testing.assert_allclose(score, jnp.abs(sum(signed)) * flat(mask), rtol=1e-4)
    assert (signed[0] * signed[1] < 0).any()


def test_redraw_keeps_biases_beside_kernels_and_resets_batch_norm():
    model = resnet(8, 2, 3)
    x = jnp.ones((1, 8, 8, 3))
    params, _ = jax.jit(model.init)(jax.random.key(0), x)
    trained = jax.tree.map(lambda p: p + 1, params)
    fresh, _ = jax.jit(model.init)(jax.random.key(1), x)
    drawn = redraw(trained, fresh)
    assert jax.tree.structure(drawn) == jax.tree.structure(params)
    np.testing.assert_array_equal(drawn["fc"]["bias"], trained["fc"]["bias"])
    np.testing.assert_array_equal(drawn["fc"]["kernel"], fresh["fc"]["kernel"])
    np.testing.assert_array_equal(drawn["blocks_0"]["bn1"]["scale"], 1)
    np.testing.assert_array_equal(drawn["blocks_0"]["bn1"]["bias"], 0)


def test_the_given_weights_do_not_matter_but_their_biases_do():
    model, params, state, mask, batches = problem("softplus")
    pruner = ntksap(num_draws=1)

    def score(params):
        return flat(pruner.score(KEY, model, params, state, mask, batches))

    def moved(leaf):
        return {n: {**layer, leaf: layer[leaf] + 1} for n, layer in params.items()}

    np.testing.assert_array_equal(score(params), score(moved("kernel")))
    assert not np.allclose(score(params), score(moved("bias")))


def test_data_inputs_use_the_batches_and_the_others_their_shape():
    model, params, state, mask, batches = problem("softplus")
    other = Batch(batches.x + 1, batches.y)

    def scores(distribution):
        score = ntksap(num_draws=1, input_distribution=distribution).score
        return [flat(score(KEY, model, params, state, mask, b)) for b in (batches, other)]

    assert not np.allclose(*scores("data"))
    for distribution in ("normal", "uniform", "rademacher"):
        np.testing.assert_array_equal(*scores(distribution))


@pytest.mark.parametrize("distribution", ["normal", "uniform", "rademacher"])
def test_inputs_have_mean_zero_and_unit_variance(distribution):
    z = draw_inputs(KEY, jnp.zeros((400, 50)), distribution)
    assert abs(float(z.mean())) < 4 / np.sqrt(z.size)
    assert float(z.var()) == pytest.approx(1, abs=4 * np.sqrt(2 / z.size))


def test_perturbation_has_the_standard_deviation_epsilon_on_kernels_alone():
    delta = draw_perturbation(KEY, {"kernel": jnp.zeros((300, 50)), "bias": jnp.ones(9)}, 0.01)
    assert not delta["bias"].any()
    assert float(delta["kernel"].std()) == pytest.approx(0.01, rel=4 / np.sqrt(2 * 15000))


class Normalised(nn.Module):
    """The smallest network with batch norm."""

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9):
        x = BatchNorm(name="bn")(nn.Dense(5)(x), train=train, momentum=momentum)
        return nn.Dense(3)(nn.softplus(x))


def test_batch_norm_is_frozen_at_the_unperturbed_statistics():
    model = adapter(Normalised())
    x = jax.random.normal(KEY, (6, 4))
    params, state = model.init(KEY, x)
    mask, delta = masks.ones_like(params), draw_perturbation(KEY, params, 0.01)
    wrong = jax.tree.map(lambda s: s + 5, state)  # given running statistics must not matter
    one, two = (flat(_saliency(model, params, s, mask, x, delta)) for s in (state, wrong))
    np.testing.assert_array_equal(one, two)
    _, frozen = model.apply(params, state, x, train=True, momentum=0.0)
    moved = jax.tree.map(jnp.add, params, delta)

    def objective(m):
        outputs = [
            model.apply(masks.apply(p, m), frozen, x, train=False)[0] for p in (params, moved)
        ]
        return jnp.square(outputs[0] - outputs[1]).sum()

    expected = flat(jax.grad(objective)(masks.as_float(mask, params)))
    np.testing.assert_allclose(one, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_draws": 0}, "num_draws must be at least 1, got 0"),
        ({"epsilon": 0.0}, "epsilon must be positive, got 0.0"),
        ({"epsilon": float("nan")}, "epsilon must be positive, got nan"),
        (
            {"estimator": "fd"},
            "unknown estimator 'fd'; choose one of finite_difference, jvp, trace",
        ),
        ({"input_distribution": "gauss"}, "unknown input_distribution 'gauss'"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        ntksap(**options)
