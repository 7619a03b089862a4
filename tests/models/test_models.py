"""The networks: sizes, initialisation, batch norm's statistics, batch independence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from tiny_models import TINY, images, variables

from ntk_prune import masks
from ntk_prune.activations import Open
from ntk_prune.models import (
    MODELS,
    BatchNorm,
    clip_resnet,
    deeplab,
    densenet,
    imagenet_resnet,
    lenet5,
    mlp,
    mobilenet_v1,
    model,
    preresnet,
    resnet,
    vgg,
    vit,
)

DENSE_BLOCKS = 9 * 12 * sum(start + 12 * i for start in (24, 168, 312) for i in range(12))


def prunable_weights(network, shape):
    params, _ = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return sum(leaf.size for _, leaf in masks.leaves(params))


@pytest.mark.parametrize(
    ("network", "shape", "count"),
    [
        (resnet(20), (32, 32, 3), 270_896),
        (resnet(32), (32, 32, 3), 464_432),
        (preresnet(20), (32, 32, 3), 270_256 + 640),
        # Six blocks more than depth 20: 12 layers of 3x3, four of each width.
        (preresnet(32), (32, 32, 3), 270_256 + 640 + 4 * 9 * (16**2 + 32**2 + 64**2)),
        (preresnet(8, 1 / 4), (8, 8, 1), 36 + 9 * (32 + 96 + 384) + 32 + 128 + 160),
        # Stem; per block 9 * 12 on 12 inputs that grow by 12; transitions of 168 and 312; 456 * 10.
        (densenet(40), (32, 32, 3), 648 + DENSE_BLOCKS + 168**2 + 312**2 + 4_560),
        (vgg(16, num_classes=100), (32, 32, 3), 14_761_664),
        (vgg(16, num_classes=100, batch_norm=False), (32, 32, 3), 14_761_664),
        (MODELS["lenet_300_100"](), (28, 28, 1), 266_200),
        (lenet5(), (28, 28, 1), 107_550),
        (imagenet_resnet(18), (224, 224, 3), 11_678_912),
        (imagenet_resnet(18, "3x3", num_classes=200), (64, 64, 3), 11_261_632),
        (imagenet_resnet(50), (224, 224, 3), 25_502_912),
        # The deep stem of CLIP: 27 * 32 + 9 * 32 * 32 + 9 * 32 * 64 for 147 * 64.
        (clip_resnet(50), (224, 224, 3), 25_502_912 - 9_408 + 28_512),
        # ResNet-50 without its linear layer, the pyramid, and the decoder.
        (deeplab(50), (513, 513, 3), 25_502_912 - 2_048_000 + 15_073_280 + 1_176_832),
        # 3 * 9 * 32; 9 per depthwise channel, 4960 of them; 3,138,560 at 1x1 and 1024 * 10.
        (mobilenet_v1(), (32, 32, 3), 864 + 9 * 4_960 + 3_139_584 + 10_240),
        # A patch of 4 * 4 * 3; 12 width^2 in each of 6 blocks; 192 * 10.
        (vit(), (32, 32, 3), 48 * 192 + 6 * 12 * 192**2 + 1_920),
    ],
)
def test_prunable_weights(network, shape, count):
    # ResNet-32: 6n+2 with n=5 has 12 more 3x3 layers than ResNet-20: 4 of each width.
    assert prunable_weights(network, shape) == count


def test_all_parameters_of_resnet_50():
    # Stem 9408; stages 215808, 1219584, 7098368, 14964736 with their batch norms but for the
    # stem's 128; linear 2048 * 1000 + 1000.
    params, _ = jax.eval_shape(
        imagenet_resnet(50).init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))
    )
    sizes = {
        k: sum(leaf.size for leaf in jax.tree.leaves(v)) for k, v in params["backbone"].items()
    }
    stages = [sum(n for k, n in sizes.items() if k.startswith(f"layer{i}")) for i in range(1, 5)]
    assert stages == [215_808, 1_219_584, 7_098_368, 14_964_736]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 25_557_032


@pytest.mark.parametrize("name", MODELS)
def test_outputs_state_and_masks(name):
    network, shape = TINY[name]
    params, state = variables(name)
    x = images(name)
    outputs = (*shape[:2], 5) if name == "deeplab" else (5,)
    for train in (False, True):
        apply = jax.jit(functools.partial(network.apply, train=train))
        logits, new = apply(params, state, x)
        assert logits.shape == (3, *outputs)
        assert np.isfinite(logits).all()
        assert jax.tree.structure(new) == jax.tree.structure(state)
        moved = jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), state, new))
        assert all(moved) if train else not any(moved)
    masks.check(params, masks.ones_like(params))


@pytest.mark.parametrize("name", ["resnet", "vgg"])
def test_running_statistics_keep_examples_apart(name):
    params, state = variables(name)
    x = images(name, 4)
    apply = jax.jit(TINY[name][0].apply, static_argnames="train")
    together, same = apply(params, state, x, train=False)
    alone, _ = apply(params, state, x[:1], train=False)
    scale = np.abs(together).max()
    np.testing.assert_allclose(together[:1], alone, atol=1e-5 * scale)
    jax.tree.map(np.testing.assert_array_equal, same, state)
    mixed, _ = apply(params, state, x, train=True)
    alone_mixed, _ = apply(params, state, x[:2], train=True)
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


def standard_deviations(params):
    """``(name, kernel, its standard deviation, 4 standard errors of it)`` of each layer."""
    for name, kernel in masks.leaves(params):
        yield name, kernel, kernel.std(), 4 * kernel.std() / np.sqrt(2 * kernel.size)


def test_kernels_are_kaiming_normal_with_fan_in():
    params, _ = resnet(20, 16).init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    for name, kernel, std, error in standard_deviations(params):
        assert abs(std - np.sqrt(2 / np.prod(kernel.shape[:-1]))) < error, name


def three_regime_init():
    """The networks of the three-regime model and the values of their convolutions' fans."""
    yield preresnet(8, 2), lambda shape: np.prod(shape[:2]) * shape[-1]
    yield densenet(7, 48), lambda shape: np.prod(shape[:2]) * shape[-1]
    yield vgg(11, 32, classifier_std=0.01), lambda shape: np.prod(shape[:3])


def test_kernels_of_the_three_regime_model():
    for network, fan in three_regime_init():
        params, _ = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
        head = params.pop("fc")
        for name, kernel, std, error in standard_deviations(params):
            assert abs(std - np.sqrt(2 / fan(kernel.shape))) < error, name
        if "conv0" in params:
            assert float(head["kernel"].std()) == pytest.approx(0.01, rel=0.05)
            assert not head["bias"].any()
        else:
            bound = 1 / np.sqrt(len(head["kernel"]))
            assert 0.6 * bound < np.abs(head["bias"]).max() <= bound
            assert 0.9 * bound < np.abs(head["kernel"]).max() <= bound


@pytest.mark.parametrize("batch_norm", [True, False])
def test_vgg_of_small_images_and_without_batch_norm(batch_norm):
    network = vgg(11, 2, 5, batch_norm)
    x = jnp.zeros((2, 8, 8, 1))
    params, state = jax.eval_shape(network.init, jax.random.key(0), x)
    logits, _ = jax.eval_shape(functools.partial(network.apply, train=True), params, state, x)
    assert logits.shape == (2, 5)
    assert bool(state) is batch_norm is ("bn0" in params)


def test_kernels_of_imagenet_resnets_are_kaiming_normal_with_fan_out():
    network, shape = TINY["imagenet_resnet"]
    params, state = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, *shape)))
    layers = list(standard_deviations(params["backbone"]))
    assert len(layers) == 20
    for name, kernel, std, error in layers:
        assert abs(std - np.sqrt(2 / (np.prod(kernel.shape[:2]) * kernel.shape[-1]))) < error, name
    bound = 1 / np.sqrt(32)
    for leaf in jax.tree.leaves(params["fc"]):
        assert 0.6 * bound < np.abs(leaf).max() <= bound
    assert params["fc"]["kernel"].std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
    norm = params["backbone"]["layer4_1"]["bn2"]
    assert jax.tree.map(lambda leaf: float(leaf.max()), norm) == {"scale": 1.0, "bias": 0.0}
    assert {float(leaf.max()) for leaf in jax.tree.leaves(state)} == {0.0, 1.0}


LOW = {
    "resnet": resnet(8, 4, 5, dtype="bfloat16"),
    "preresnet": preresnet(8, 1 / 4, 5, dtype="bfloat16"),
    "densenet": densenet(7, 4, 5, dtype="bfloat16"),
    "mobilenet_v1": mobilenet_v1(1 / 16, 5, dtype="bfloat16"),
    "imagenet_resnet": imagenet_resnet(18, "7x7", 4, 5, dtype="bfloat16"),
    "clip_resnet": clip_resnet(50, 2, 5, dtype="bfloat16"),
    "deeplab": deeplab(18, 4, 8, 5, dtype="bfloat16"),
    "vit": vit(4, 12, 2, 3, 5, dtype="bfloat16"),
}


@pytest.mark.parametrize("name", LOW)
def test_bfloat16_computes_low_and_keeps_parameters_high(name):
    params, state = variables(name)
    x = images(name)
    low, new = jax.eval_shape(functools.partial(LOW[name].apply, train=True), params, state, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((low, new))} == {jnp.dtype("float32")}
    low, _ = jax.jit(functools.partial(LOW[name].apply, train=False))(params, state, x)
    exact, _ = jax.jit(functools.partial(TINY[name][0].apply, train=False))(params, state, x)
    assert 0 < np.abs(low - exact).mean() < 0.05 * np.abs(exact).mean()


@pytest.mark.parametrize("name", [name for name in LOW if name != "vit"])
def test_sums_over_paths_do_not_see_the_compute_type(name):
    with jax.enable_x64(True):
        params, state = variables(name, np.float64)
        x = np.ones_like(images(name, dtype=np.float64))[:1]
        low, exact = (
            jax.jit(functools.partial(network.apply, train=False, activation=Open()))(
                params, state, x
            )[0]
            for network in (LOW[name], TINY[name][0])
        )
        assert low.dtype == np.float64
        np.testing.assert_array_equal(low, exact)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resnet(21), "6n\\+2"),
        (lambda: preresnet(21), "6n\\+2"),
        (lambda: preresnet(20, 0.05), "is 1/16 to 4096, got 0.05"),
        (lambda: densenet(41), "3n\\+4"),
        (lambda: densenet(40, 0), "growth of a DenseNet is at least 1, got 0"),
        (lambda: vgg(15), "VGG comes in depths"),
        (lambda: mlp(activation="relo"), "unknown activation 'relo'"),
        (lambda: imagenet_resnet(20), r"depth out of \(18, 34, 50, 101, 152\), got 20"),
        (lambda: imagenet_resnet(stem="deep"), "stem is 7x7 or 3x3, got 'deep'"),
        (lambda: imagenet_resnet(init="xavier"), "init is fan_in or fan_out, got 'xavier'"),
        (lambda: clip_resnet(18), "depth 50 or 101, got 18"),
        (lambda: clip_resnet(width=5), "must be even, got 5"),
        (lambda: deeplab(output_stride=32), "output stride of DeepLab is 8 or 16, got 32"),
        (lambda: mobilenet_v1(0.0), "width must be positive, got 0.0"),
        (lambda: resnet(20, width=0), "width must be positive, got 0"),
        (lambda: mlp(num_classes=0), "num_classes must be positive, got 0"),
        (lambda: vit(width=100, heads=3), "100 does not divide by 3"),
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
