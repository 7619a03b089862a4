"""Small networks, masks and brute-force kernels that the kernel tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from ntk_prune import masks, models


class Residual(nn.Module):
    """What a ResNet has, once each: strided convolution, batch norm, shortcut, linear head."""

    @nn.compact
    def __call__(self, x, *, train):
        y = nn.Conv(4, (3, 3), (2, 2), padding=1, use_bias=False)(x)
        y = nn.relu(models.BatchNorm()(y, train=train))
        y = nn.Conv(4, (3, 3), padding=1)(y) + nn.Conv(4, (1, 1), (2, 2))(x)
        return nn.Dense(4)(nn.relu(y).mean((1, 2)))


NETWORKS = {
    "mlp": (models.mlp((12, 9), 4, "gelu"), (6,)),
    "residual": (models.model(Residual()), (6, 6, 2)),
    "lenet5": (models.lenet5(3), (28, 28, 1)),
}


@functools.cache
def network(name, n=5, dtype=jnp.float32, seed=0):
    """``(model, params, state, x [n, ...])`` in ``dtype``, batch-norm statistics not trivial."""
    model, shape = NETWORKS[name]
    key = jax.random.key(seed)
    x = jax.random.normal(jax.random.fold_in(key, 1), (n, *shape), jnp.float32)
    params, state = jax.jit(model.init)(key, x[:1])
    if state:
        state = jax.jit(lambda p, s, x: model.apply(p, s, x, train=True)[1])(params, state, x)
    return model, *jax.tree.map(lambda a: a.astype(dtype), (params, state, x))


def random_mask(params, density=0.4):
    """A random mask over the prunable weights, another one in every layer."""

    def draw(p, prunable):
        kept = np.random.default_rng(p.size).random(p.shape) < density
        return jnp.asarray(kept if prunable else np.ones(p.shape, bool))

    return jax.tree.map(draw, params, masks.prunable(params))


def brute_force(model, params, state, x, mask=None, leaf=str.isprintable):
    """The full kernel by jacrev of the batch, over the leaves whose name is wanted."""
    if mask is not None:
        params = masks.apply(params, mask)
    jacobians = jax.jit(jax.jacrev(lambda p: model.apply(p, state, x, train=False)[0]))(params)
    kernel = 0
    flat = jax.tree_util.tree_flatten_with_path(jacobians)[0]
    kept = jax.tree.leaves(mask if mask is not None else masks.ones_like(params))
    for (path, j), m in zip(flat, kept, strict=True):
        if leaf(masks.name_of(path)):
            j = np.asarray(j, np.float64).reshape(*j.shape[:2], -1) * np.asarray(m).ravel()
            kernel = kernel + np.einsum("ikp,jlp->ijkl", j, j)
    return kernel
