"""How far real training is from an inertial form: the fast part against a graph over the slow,
and how far slaved weights are from the minimum that they follow."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ntk_prune import masks
from ntk_prune.inertial import manifold
from ntk_prune.inertial.point import fast_split
from ntk_prune.landscape import MaskedLoss
from ntk_prune.linalg import Eigenpairs
from ntk_prune.training import TrainState
from ntk_prune.types import Mask

ORDERS = ("order_0", "order_1", "steady")
STEADY_STEPS = 50
"""Gradients after which the steady manifold counts as not converging."""


def slaved_gradient(loss: MaskedLoss, mask: Mask, state: TrainState) -> dict[str, float]:
    """``slaved/gradient = |dL/dq|``, with ``q`` the weights outside ``mask``: zero on the steady
    manifold."""
    gradient = loss.coordinates.tree(
        loss.value_and_gradient(loss.coordinates.vector(state.params))[1]
    )
    of_rest = masks.apply(gradient, jax.tree.map(jnp.logical_not, mask))
    return {"slaved/gradient": float(optax.tree.norm(of_rest))}


class SlavingTracker:
    """``slaving/<order> = |Q V - Phi(P V)| / |V|`` with ``V = W - W*``, and ``slaving/distance``.

    ``Q`` projects on the top eigenvectors at ``W*``; ``Phi`` is the approximate manifold of order 0
    (constant), 1, and in the steady limit, nan where its iteration does not converge; nothing is
    said at ``W*`` itself. Batch norm by the statistics at ``W*``.

    Args:
        loss: The loss about ``W*``.
        arrays: ``top_values`` and ``top_vectors`` of its Hessian.
    """

    def __init__(self, loss: MaskedLoss, arrays: Mapping[str, np.ndarray]):
        self.loss = loss
        vectors = np.asarray(arrays["top_vectors"])
        values = np.asarray(arrays["top_values"])[: vectors.shape[1]]
        split = fast_split(loss, Eigenpairs(values, vectors, np.zeros(len(values))))
        self._split = split
        self._graphs = {
            "order_0": manifold.order(split, 0),
            "order_1": manifold.order(split, 1),
            "steady": manifold.steady(split, max_steps=STEADY_STEPS),
        }

    def __call__(self, state: TrainState) -> dict[str, float]:
        v = self.loss.coordinates.vector(state.params) - self.loss.w0
        distance = float(jnp.linalg.norm(v))
        if distance == 0:
            return {"slaving/distance": 0.0}
        residuals = {
            f"slaving/{name}": float(manifold.slaving_residual(self._split, phi, v))
            for name, phi in self._graphs.items()
        }
        return {"slaving/distance": distance, **residuals}
