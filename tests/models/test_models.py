"""The networks: sizes, initialisation, batch norm's statistics, batch independence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ntk_prune import masks
from ntk_prune.models import MODELS, BatchNorm, lenet5, mlp, model, resnet, vgg

TINY = {
    "mlp": (mlp((8, 6), 5), (6, 6, 1)),
    "convnet": (MODELS["convnet"]((4, 6), (1, 2), 5), (6, 6, 3)),
    "lenet_300_100": (MODELS["lenet_300_100"](5), (6, 6, 1)),
    "lenet5": (lenet5(5), (12, 12, 1)),
    "resnet": (resnet(8, 4, 5), (8, 8, 3)),
    "vgg": (vgg(11, 4, 5), (16, 16, 3)),
}


def prunable_weights(network, shape):
    params, _ = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return sum(leaf.size for _, leaf in masks.leaves(params))


@pytest.mark.parametrize(
    ("network", "shape", "count"),
    [
        (resnet(20), (32, 32, 3), 270_896),
        (resnet(32), (32, 32, 3), 464_432),
        (vgg(16, num_classes=100), (32, 32, 3), 14_761_664),
        (MODELS["lenet_300_100"](), (28, 28, 1), 266_200),
        (lenet5(), (28, 28, 1), 107_550),
    ],
)
def test_prunable_weights(network, shape, count):
    # ResNet-32: 6n+2 with n=5 has 12 more 3x3 layers than ResNet-20: 4 of each width.
    assert prunable_weights(network, shape) == count


@pytest.mark.parametrize("name", MODELS)
def test_outputs_state_and_masks(name):
    network, shape = TINY[name]
    x = jax.random.normal(jax.random.key(1), (3, *shape))
    params, state = jax.jit(network.init)(jax.random.key(0), x)
    for train in (False, True):
        logits, new = network.apply(params, state, x, train=train)
        assert logits.shape == (3, 5)
        assert jax.tree.structure(new) == jax.tree.structure(state)
    masks.check(params, masks.ones_like(params))


@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_running_statistics_keep_examples_apart(name):
    network, shape = TINY[name]
    x = jax.random.normal(jax.random.key(1), (4, *shape))
    params, state = network.init(jax.random.key(0), x)
    together, same = network.apply(params, state, x, train=False)
    alone, _ = network.apply(params, state, x[:1], train=False)
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
    assert all(a is b for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(state), strict=True))
    mixed, _ = network.apply(params, state, x, train=True)
    alone_mixed, _ = network.apply(params, state, x[:2], train=True)
    assert np.abs(mixed[:2] - alone_mixed).max() > 1e-3


def test_batch_norm_statistics():
    x = jax.random.normal(jax.random.key(0), (5, 2, 2, 3)) * 3 + 1
    layer = BatchNorm()
    variables = layer.init(jax.random.key(1), x, train=True)
    y, new = layer.apply(variables, x, train=True, momentum=0.0, mutable=["batch_stats"])
    flat = np.asarray(x).reshape(-1, 3)
    np.testing.assert_allclose(new["batch_stats"]["mean"], flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], flat.var(0, ddof=1), rtol=1e-5)
    expected = (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    np.testing.assert_allclose(np.asarray(y).reshape(-1, 3), expected, atol=1e-5)
    _, kept = layer.apply(variables, x, train=True, momentum=0.9, mutable=["batch_stats"])
    np.testing.assert_allclose(kept["batch_stats"]["mean"], 0.1 * flat.mean(0), rtol=1e-5)


def test_batch_norm_is_synchronised_over_a_mapped_axis():
    x = jax.random.normal(jax.random.key(0), (8, 3))
    layer = BatchNorm()
    variables = layer.init(jax.random.key(1), x, train=True)

    def run(part, axis_name=None):
        return layer.apply(
            variables, part, train=True, axis_name=axis_name, mutable=["batch_stats"]
        )

    whole, stats = run(x)
    parts, parts_stats = jax.vmap(lambda p: run(p, "i"), axis_name="i")(x.reshape(4, 2, 3))
    np.testing.assert_allclose(parts.reshape(8, 3), whole, atol=1e-5)
    for a, b in zip(jax.tree.leaves(parts_stats), jax.tree.leaves(stats), strict=True):
        np.testing.assert_allclose(a[0], b, atol=1e-6)


def test_kernels_are_kaiming_normal_with_fan_in():
    params, _ = resnet(20, 16).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    for name, kernel in masks.leaves(params):
        std = np.sqrt(2 / np.prod(kernel.shape[:-1]))
        error = 4 * std / np.sqrt(2 * kernel.size)
        assert abs(kernel.std() - std) < error, name


def test_bfloat16_computes_low_and_keeps_parameters_high():
    network = resnet(8, 4, dtype="bfloat16")
    x = jnp.ones((2, 8, 8, 3))
    params, state = network.init(jax.random.key(0), x)
    logits, new = network.apply(params, state, x, train=True)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((params, new))} == {jnp.dtype("float32")}
    exact, _ = resnet(8, 4).apply(params, state, x, train=True)
    assert 0 < np.abs(logits - exact).max() < 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resnet(21), "6n\\+2"),
        (lambda: vgg(15), "VGG comes in depths"),
        (lambda: mlp(activation="relo"), "unknown activation 'relo'"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_foreign_module_without_momentum_is_refused_clearly():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.BatchNorm(use_running_average=not train)(nn.Dense(3)(x))

    network = model(Net())
    x = jnp.ones((4, 2))
    params, state = network.init(jax.random.key(0), x)
    assert network.apply(params, state, x, train=True)[0].shape == (4, 3)
    with pytest.raises(TypeError, match="takes no `momentum`"):
        network.apply(params, state, x, train=True, momentum=0.0)
