"""Parameters and inputs that are spread over a mesh give the numbers of one device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from kernel_cases import network, random_mask

from ntk_prune.ntk import empirical_ntk, jacobian, ntk_operator, traced_ntk


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_numbers_do_not_depend_on_where_arrays_lie(kind):
    model, params, state, x = network("residual", n=4)
    mask = random_mask(params)
    mesh = jax.make_mesh((2,), ("d",), axis_types=(kind,), devices=jax.devices()[:2])

    def place(a, axis):
        names = [None] * a.ndim
        if a.shape[axis] % 2 == 0:
            names[axis] = "d"
        return jax.device_put(a, NamedSharding(mesh, PartitionSpec(*names)))

    spread = [jax.tree.map(lambda a: place(a, -1), tree) for tree in (params, state, mask)]
    spread.append(place(x, 0))
    u = jnp.arange(16.0)
    for call in (
        lambda p, s, m, x: empirical_ntk(model, p, x, state=s, mask=m),
        lambda p, s, m, x: empirical_ntk(model, p, x, 2 * x, state=s, mask=m),
        lambda p, s, m, x: traced_ntk(model, p, x, state=s, mask=m),
        lambda p, s, m, x: ntk_operator(model, p, x, state=s, mask=m).matvec(u),
        lambda p, s, m, x: jacobian(model, p, x, state=s, mask=m),
    ):
        expected = call(params, state, mask, x)
        np.testing.assert_allclose(call(*spread), expected, rtol=1e-5, atol=1e-5)
