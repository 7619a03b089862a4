"""What a convolution looks at."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.types import Array


class Window(NamedTuple):
    """The geometry of a convolution, one entry a spatial axis."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]

    @property
    def reach(self) -> tuple[int, ...]:
        """Pixels from the first to the last that an output sees, both counted."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.shape, self.rhs_dilation, strict=True))


def patches(window: Window, x: Array) -> Array:
    """What every output sees: ``x [B, *space, C] -> [B, *outputs, *window.shape, C]``.

    The convolution with a kernel ``[*window.shape, C, F]`` is the product over the last axes.
    """
    pads = [
        (low, high, dilation - 1)
        for (low, high), dilation in zip(window.padding, window.lhs_dilation, strict=True)
    ]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    strides = (1, *window.strides, 1)
    pieces = []
    for offset in np.ndindex(*window.shape):
        start = [o * d for o, d in zip(offset, window.rhs_dilation, strict=True)]
        stop = [n - r + 1 + s for n, r, s in zip(x.shape[1:-1], window.reach, start, strict=True)]
        pieces.append(jax.lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), strides))
    stacked = jnp.stack(pieces, axis=-2)
    return stacked.reshape(*stacked.shape[:-2], *window.shape, x.shape[-1])
