"""What is measured of a network along its training: ``state -> {name: number}``."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from experiments.errors import user_errors
from ntk_prune import masks
from ntk_prune.compiling import jit_once
from ntk_prune.ntk import diagnostics, empirical_ntk, estimate_cost
from ntk_prune.training import TrainState
from ntk_prune.types import Array, Mask, Model, Params, State


def kernel_of(
    model: Model, params: Params, state: State, mask: Mask, x: Any, batch_norm: str = "frozen"
) -> np.ndarray:
    """The full NTK ``[n, n, C, C]`` in the kept prunable weights, contracted in float64.

    Batch norm is a fixed affine map: by the statistics of ``x`` under the mask (``"frozen"``, as
    NTK-SAP has it) or by those in ``state`` (``"running"``).
    """
    if batch_norm == "frozen":
        forward = jax.jit(model.apply, static_argnames=("train", "momentum"))
        _, state = forward(masks.apply(params, mask), state, x, train=True, momentum=0.0)
    return empirical_ntk(
        model, params, x, state=state, mask=mask, wrt="prunable", accumulate="float64"
    )


def kernel_costs(
    model: Model, image: Array, num_images: int, densities: Iterable[float]
) -> Iterator[str]:
    """What the kernels of ``kernel_of`` will cost of networks pruned by magnitude, a line each.

    Args:
        model: The network.
        image: One input ``[1, ...]``, for its shape.
        num_images: Images of the kernel.
        densities: Kept fractions of the prunable weights.
    """
    params, state = jit_once(model.init)(jax.random.key(0), image)
    x: Any = jax.ShapeDtypeStruct((num_images, *image.shape[1:]), np.float32)
    dense, scores = masks.ones_like(params), jax.tree.map(np.abs, params)
    for density in sorted(set(densities), reverse=True):
        mask = masks.keep_top(scores, dense, density)
        cost = estimate_cost(
            model, params, x, state=state, mask=mask, wrt="prunable", accumulate="float64"
        )
        yield f"kernel at density {density:g} of {num_images} images: {cost}"


def check_kernel(field: str, model: Model, image: Array, num_images: int) -> None:
    """UserError for a kernel of so many images that does not fit in memory."""
    with user_errors(field):
        list(kernel_costs(model, image, num_images, (1.0,)))


class KernelTracker:
    """An observer of the NTK of some training images, against its value ``first`` at the start."""

    def __init__(self, model: Model, x: Array, y: Array, num_classes: int, first: np.ndarray):
        self.model, self.x, self.y = model, x, y
        self.num_classes, self.first = num_classes, first

    def __call__(self, state: TrainState) -> dict[str, float]:
        """``ntk/drift = |K_t - K_0| / |K_0|`` and ``ntk/label_alignment`` of these weights."""
        kernel = kernel_of(self.model, state.params, state.model_state, state.mask, self.x)
        return {
            "ntk/drift": diagnostics.relative_distance(kernel, self.first),
            "ntk/label_alignment": diagnostics.label_alignment(kernel, self.y, self.num_classes),
        }
