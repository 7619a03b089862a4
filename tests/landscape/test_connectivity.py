"""The line between two networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import landscape
from ntk_prune.models import mlp, resnet

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


def test_batch_statistics_are_means_over_the_batches():
    model = resnet(8, 2, 3)
    x = 2 + jax.random.normal(KEY, (3, 6, 8, 8, 3))
    params, state = jax.jit(model.init)(KEY, x[0])
    found = landscape.batch_statistics(model, params, state, x)
    each = [model.apply(params, state, b, train=True, momentum=0.0)[1] for b in x]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves).mean(0), *each)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def test_a_network_without_batch_norm_keeps_its_state():
    model = mlp((3,), 2)
    params, state = model.init(KEY, jnp.ones((1, 4)))
    assert landscape.batch_statistics(model, params, state, jnp.ones((2, 1, 4))) is state
