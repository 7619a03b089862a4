"""The line between two networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from ntk_prune import landscape
from ntk_prune.losses import cross_entropy
from ntk_prune.models import BatchNorm, mlp, model
from ntk_prune.types import Model

KEY = jax.random.key(0)


def test_the_ends_of_the_line_are_the_networks():
    a, b = ({"w": jax.random.normal(jax.random.key(k), (5,))} for k in (1, 2))
    np.testing.assert_array_equal(landscape.interpolate(a, b, 0.0)["w"], a["w"])
    np.testing.assert_array_equal(landscape.interpolate(a, b, 1.0)["w"], b["w"])
    np.testing.assert_allclose(
        landscape.interpolate(a, b, 0.25)["w"], 0.75 * a["w"] + 0.25 * b["w"], rtol=1e-6
    )


def test_a_convex_error_has_no_barrier_and_a_bump_has_its_height():
    t = np.linspace(0, 1, 11)
    assert landscape.barrier((t - 0.3) ** 2) == pytest.approx(0.49 - (0.09 + 0.49) / 2)
    assert landscape.barrier(0.2 * t) == pytest.approx(0.1)
    assert landscape.barrier(np.full(5, 0.3)) == 0
    assert landscape.barrier(0.1 + np.sin(np.pi * t)) == pytest.approx(1)


def test_the_height_of_a_barrier_is_above_the_straight_line():
    t = np.linspace(0, 1, 11)
    assert landscape.barrier_height((t - 0.3) ** 2) == 0
    assert landscape.barrier_height(0.2 * t) == pytest.approx(0, abs=1e-15)
    assert landscape.barrier_height(0.2 * t + np.sin(np.pi * t)) == pytest.approx(1)


def test_connectivity_as_published():
    # Wrong examples of 300 and of 200 on two lines between recorded networks: the code of the
    # three-regime model gives these values and indices.
    errors = {
        "bump": np.array([66, 67, 73, 78, 74, 70, 70, 68, 68, 69, 67]) / 300,
        "slope": np.array([199, 200, 201, 204, 203, 206, 207, 209, 209, 210, 210]) / 300,
        "dip": np.array([153, 152, 150, 150, 149, 148, 148, 148, 149, 150, 149]) / 200,
    }
    expected = {"bump": (-0.03833333333333336, 3), "slope": (0.01833333333333331, 0),
                "dip": (0.015, 5)}  # fmt: skip
    heights = {"bump": 0.039, "slope": 0.00766666666666671, "dip": 0.003}
    for name, values in errors.items():
        connectivity = landscape.mode_connectivity(values)
        assert connectivity.value == pytest.approx(expected[name][0], rel=1e-12)
        assert connectivity.index == expected[name][1]
        assert landscape.barrier_height(values) == pytest.approx(heights[name], rel=1e-9)


@pytest.mark.parametrize("values", [[], [0.1], np.ones((2, 3))])
def test_a_line_has_two_points(values):
    for measure in (landscape.barrier, landscape.barrier_height, landscape.mode_connectivity):
        with pytest.raises(ValueError, match="at least 2 points"):
            measure(values)


class Normalised(nn.Module):
    """Two linear layers with a batch norm between them."""

    @nn.compact
    def __call__(self, x, *, train, momentum=0.9, axis_name=None):
        norm = BatchNorm(name="bn")
        x = nn.relu(norm(nn.Dense(5)(x), train=train, momentum=momentum, axis_name=axis_name))
        return nn.Dense(3)(x)


@functools.cache
def two_networks() -> tuple[Model, list, jax.Array, jax.Array]:
    """A network with batch norm, two sets of weights, 14 inputs and their labels."""
    net = model(Normalised())
    x = 2 + jax.random.normal(KEY, (14, 4))
    networks = [net.init(jax.random.key(seed), x[:1]) for seed in (1, 2)]
    return net, networks, x, jax.random.randint(KEY, (14,), 0, 3)


def of_size(size: int, *arrays):
    return [
        tuple(v[i : i + size] for v in arrays) if len(arrays) > 1 else arrays[0][i : i + size]
        for i in range(0, len(arrays[0]), size)
    ]


def statistics_by_hand(net: Model, params, state, batches):
    """Every batch's own statistics, weighted by its share of the examples."""
    total = sum(map(len, batches))
    each = [net.apply(params, state, x, train=True, momentum=0.0)[1] for x in batches]
    shares = [len(x) / total for x in batches]
    return jax.tree.map(lambda *s: sum(w * v for w, v in zip(shares, s, strict=True)), *each)


def test_batch_statistics_weight_each_batch_by_its_size():
    net, [(params, state), _], x, _ = two_networks()
    batches = of_size(4, x)  # the last one has 2
    estimated = landscape.batch_statistics(net, params, state, batches)
    expected = statistics_by_hand(net, params, state, batches)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), estimated, expected
    )


def test_a_network_without_batch_norm_keeps_its_state():
    net = mlp((3,), 2)
    params, state = net.init(KEY, jnp.ones((1, 4)))
    assert landscape.batch_statistics(net, params, state, jnp.ones((2, 1, 4))) is state


def test_no_batches_is_one_clear_line():
    net, [a, b], x, y = two_networks()
    data = [(x, y)]
    with pytest.raises(ValueError, match="no batches"):
        landscape.batch_statistics(net, *a, [])
    with pytest.raises(ValueError, match="no examples"):
        landscape.line(net, a, b, data, [])
    with pytest.raises(ValueError, match="points >= 2"):
        landscape.line(net, a, b, data, data, points=1)
    with pytest.raises(ValueError, match="same shapes"):
        landscape.line(net, a, mlp((3,), 2).init(KEY, jnp.ones((1, 4))), data, data)


@pytest.mark.parametrize("reestimated", [True, False])
@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_a_line_is_each_of_its_networks(reestimated, at_once):
    net, [a, b], x, y = two_networks()
    train, test = of_size(4, x[:10], y[:10]), of_size(3, x[10:], y[10:])
    inputs = of_size(4, x[:10])
    line = landscape.line(
        net, a, b, train, test, statistics=inputs if reestimated else None, points=3,
        at_once=at_once,
    )  # fmt: skip
    np.testing.assert_array_equal(line.t, [0, 0.5, 1])
    for i, t in enumerate(line.t):
        params, state = landscape.interpolate(a, b, float(t))
        if reestimated:
            state = landscape.batch_statistics(net, params, state, inputs)
        for images, labels, error, loss in [
            (x[:10], y[:10], line.train_error, line.train_loss),
            (x[10:], y[10:], line.test_error, line.test_loss),
        ]:
            logits, _ = net.apply(params, state, images, train=False)
            assert error[i] == pytest.approx(np.mean(np.asarray(logits.argmax(-1) != labels)))
            assert loss[i] == pytest.approx(float(cross_entropy(logits, labels).mean()), rel=1e-5)


def test_a_loss_whose_barrier_is_known():
    net = Model(
        init=lambda key, x: ({"w": jnp.ones(())}, {}),
        apply=lambda params, state, x, **_: (params["w"] * jnp.ones((len(x), 2)), state),
    )
    examples = [(jnp.ones((3, 1)), jnp.zeros(3, int)), (jnp.ones((1, 1)), jnp.zeros(1, int))]
    line = landscape.line(
        net, ({"w": jnp.float32(-1)}, {}), ({"w": jnp.float32(2)}, {}), examples, examples,
        loss=lambda logits, y: -jnp.square(logits[:, 0]), points=5,
    )  # fmt: skip
    np.testing.assert_allclose(line.train_loss, -((-1 + 3 * line.t) ** 2), rtol=1e-6)
    assert landscape.barrier_height(line.train_loss) == pytest.approx(9 / 4)  # (b - a)^2 / 4


def test_permuted_units_are_the_same_network_and_not_connected():
    net = mlp((32,), 4)
    x = jax.random.normal(KEY, (64, 6))
    a, state = net.init(KEY, x[:1])
    y = net.apply(a, state, x, train=False)[0].argmax(-1)  # no error at the ends
    order = jax.random.permutation(jax.random.key(3), 32)
    (first, hidden), (last, output) = sorted(a.items())
    b = {
        first: {"kernel": hidden["kernel"][:, order], "bias": hidden["bias"][order]},
        last: {"kernel": output["kernel"][order], "bias": output["bias"]},
    }
    other = landscape.line(net, (a, state), (b, state), [(x, y)], [(x, y)], at_once=11)
    assert other.train_error[[0, -1]].tolist() == [0, 0]
    assert other.train_loss[0] == pytest.approx(other.train_loss[-1], rel=1e-5)
    assert landscape.mode_connectivity(other.train_error).value < -0.1
    same = landscape.line(net, (a, state), (a, state), [(x, y)], [(x, y)])
    assert landscape.mode_connectivity(same.test_error).value == 0
    assert landscape.barrier_height(same.test_loss) < 1e-6
