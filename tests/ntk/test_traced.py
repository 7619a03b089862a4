"""The kernel under JAX's transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import network, random_mask

from ntk_prune.ntk import empirical_ntk, traced_ntk


def test_equals_the_kernel_on_the_host():
    with jax.enable_x64(True):
        model, params, state, x = network("residual", n=3, dtype=jnp.float64)
        mask = random_mask(params)
        for outputs in ("full", np.ones((4, 1))):
            options = {"state": state, "mask": mask, "outputs": outputs}
            inside = jax.jit(lambda p, a, b: traced_ntk(model, p, a, b, **options))  # noqa: B023
            expected = empirical_ntk(model, params, x, x[:2], **options)
            np.testing.assert_allclose(inside(params, x, x[:2]), expected, rtol=1e-10, atol=1e-10)


def test_vmapped_over_networks_and_differentiated():
    with jax.enable_x64(True):
        model, params, state, x = network("mlp", n=3, dtype=jnp.float64)
        mask = random_mask(params)
        kernel = lambda p: traced_ntk(model, p, x, state=state, mask=mask, outputs="trace")  # noqa: E731
        networks = [params, jax.tree.map(lambda p: p + 0.1, params)]
        stacked = jax.tree.map(lambda *p: jnp.stack(p), *networks)
        each = [empirical_ntk(model, p, x, state=state, mask=mask, outputs="trace")
                for p in networks]  # fmt: skip
        np.testing.assert_allclose(jax.vmap(kernel)(stacked), np.stack(each), rtol=1e-12)
        step = jax.tree.map(lambda p: 1e-5 * jnp.cos(jnp.arange(p.size)).reshape(p.shape), params)
        total = jax.jit(lambda p: kernel(p).sum())
        gradient = jax.grad(total)(params)
        slope = sum(jnp.vdot(g, s) for g, s in zip(*map(jax.tree.leaves, (gradient, step)),
                                                   strict=True))  # fmt: skip
        ahead, behind = (total(jax.tree.map(lambda p, s: p + sign * s, params, step))  # noqa: B023
                         for sign in (0.5, -0.5))  # fmt: skip
        np.testing.assert_allclose(ahead - behind, slope, rtol=1e-6)


def test_a_traced_mask_is_refused():
    model, params, state, x = network("mlp", n=2)
    mask = random_mask(params)
    with pytest.raises(ValueError, match="the mask is traced"):
        jax.jit(lambda m: traced_ntk(model, params, x, state=state, mask=m))(mask)
