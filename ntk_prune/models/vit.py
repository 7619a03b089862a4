"""A small Vision Transformer (Dosovitskiy et al., arXiv 2010.11929).

Mean over the patches instead of a class token (Beyer et al., arXiv 2205.01580), learned positions,
layer norm before attention and MLP, GELU, no dropout. Softmax and GELU have no paths to open or
close: criteria that follow paths refuse this network.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from ntk_prune.models.linen import model
from ntk_prune.types import Array, Dtype, Model

_normal = nn.initializers.truncated_normal(0.02)


class Encoder(nn.Module):
    """``x + attention(norm(x))``, then ``x + mlp(norm(x))``; ``x [B, T, D]``."""

    heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        linear = functools.partial(nn.Dense, kernel_init=_normal, dtype=self.dtype)
        norm = functools.partial(nn.LayerNorm, dtype=self.dtype)
        y = norm(name="norm1")(x)
        query, key, value = (linear(width, name=name)(y) for name in ("query", "key", "value"))
        x = x + linear(width, name="out")(attention(query, key, value, self.heads))
        y = linear(4 * width, name="fc1")(norm(name="norm2")(x))
        return x + linear(width, name="fc2")(nn.gelu(y, approximate=False))


def attention(query: Array, key: Array, value: Array, heads: int) -> Array:
    """``softmax(Q K^T / sqrt(D / heads)) V`` in each head; ``[B, T, D]`` each, and the result."""
    batch, tokens, width = query.shape
    split = (batch, tokens, heads, width // heads)
    query, key, value = (a.reshape(split) for a in (query, key, value))
    logits = jnp.einsum("bqhd,bkhd->bhqk", query, key) / jnp.sqrt(width // heads).astype(key.dtype)
    weights = nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)
    return mixed.reshape(batch, tokens, width)


class ViT(nn.Module):
    """``x [B, H, W, channels] -> logits``: patches, encoders, mean over patches, linear."""

    patch: int
    width: int
    depth: int
    heads: int
    num_classes: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x):
        if x.shape[1] % self.patch or x.shape[2] % self.patch:
            raise ValueError(
                f"images of {x.shape[1]}x{x.shape[2]} do not divide into patches of {self.patch}"
            )
        size = (self.patch, self.patch)
        embed = nn.Conv(self.width, size, size, kernel_init=_normal, dtype=self.dtype, name="embed")
        x = embed(x)
        x = x.reshape(x.shape[0], -1, self.width)
        x = x + self.param("positions", _normal, (1, *x.shape[1:])).astype(x.dtype)
        for i in range(self.depth):
            x = Encoder(self.heads, self.dtype, name=f"blocks_{i}")(x)
        x = nn.LayerNorm(name="norm", dtype=self.dtype)(x).mean(axis=1)
        return nn.Dense(self.num_classes, kernel_init=_normal, dtype=self.dtype, name="fc")(x)


def vit(
    patch: int = 4,
    width: int = 192,
    depth: int = 6,
    heads: int = 3,
    num_classes: int = 10,
    dtype: Dtype = None,
) -> Model:
    """A Vision Transformer for small images, which have one size for good (learned positions).

    Args:
        patch: Height and width of a patch.
        width: Features of a patch; the MLPs have 4 times as many.
        depth: Number of encoder blocks.
        heads: Attention heads; divides width.
        num_classes: Number of outputs.
        dtype: Compute type; parameters stay float32.
    """
    if heads < 1 or width % heads:
        raise ValueError(f"the heads share the width evenly: {width} does not divide by {heads}")
    return model(ViT(patch, width, depth, heads, num_classes, dtype))
