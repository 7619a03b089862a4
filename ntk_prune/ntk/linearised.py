r"""Training predicted by the kernel: the linearised network and its gradient flow in closed form.

For the loss ``L = 1/(2 n) sum_i |f(x_i) - y_i|^2`` and gradient flow ``dtheta/dt = -dL/dtheta`` of
the network linearised at ``theta_0``, with ``K`` its NTK between training inputs,

    f_t(X)  = y + exp(-K t / n) (f_0(X) - y),
    f_t(X') = f_0(X') + K(X', X) K^-1 (1 - exp(-K t / n)) (y - f_0(X))

(Jacot et al., arXiv 1806.07572; Lee et al., arXiv 1902.06720). Gradient descent with a small
learning rate ``eta`` follows the flow at ``t = eta * steps``.
"""

from typing import NamedTuple

import jax
import numpy as np

from ntk_prune.ntk.diagnostics import as_matrix
from ntk_prune.ntk.functions import Function, call, masked
from ntk_prune.types import Array, Mask, Params, State


def linearised(
    f: Function, params0: Params, *, state: State = None, mask: Mask | None = None
) -> Function:
    """``f_lin(params, x) = f(x; m theta_0) + J(x) m (theta - theta_0)``, outputs ``[B, C]``.

    ``f`` is ``f(params, x)`` or a ``Model`` under the running statistics in ``state``. Raises
    ValueError for a mask that does not fit.

    >>> import jax.numpy as jnp
    >>> f = linearised(lambda p, x: x * p**2, jnp.array([[3.0]]))
    >>> f(jnp.array([[4.0]]), jnp.array([[1.0]])).tolist()      # 9 + 6 (4 - 3)
    [[15.0]]
    """
    start = masked(params0, mask)

    def f_lin(params: Params, x: Array) -> Array:
        step = jax.tree.map(lambda a, b: a - b, masked(params, mask), start)
        value, change = jax.jvp(lambda p: call(f, p, state, x), (start,), (step,))
        return value + change

    return f_lin


class GradientFlow(NamedTuple):
    """The flow of the linearised network in the eigenbasis of its kernel; call it with a time."""

    eigenvalues: np.ndarray  # [n C]
    eigenvectors: np.ndarray  # [n C, n C]
    residual: np.ndarray  # y - f_0(X) in the eigenbasis [n C]
    num_examples: int

    def train(self, t: float, y: np.ndarray) -> np.ndarray:
        """Outputs ``[n, C]`` on the training inputs at time ``t``; ``y [n, C]`` are the targets."""
        left = np.exp(-self.eigenvalues * t / self.num_examples) * self.residual
        return y - (self.eigenvectors @ left).reshape(y.shape)

    def test(self, t: float, f0: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """Outputs ``[m, C]`` elsewhere at ``t``, from ``f0 [m, C]`` and ``K(X', X)``."""
        rate = self.eigenvalues / self.num_examples
        # (1 - exp(-rate t)) / eigenvalue, whose limit at eigenvalue 0 is t / n. Such a direction
        # moves no output, so that at the end of time any finite number will do.
        rounding = rate.size * np.finfo(rate.dtype).eps * rate.max(initial=0.0)
        moves = rate > rounding
        at_rest = t if np.isfinite(t) else 0.0
        safe = np.where(moves, rate, 1.0)
        gain = np.where(moves, -np.expm1(-safe * t) / safe, at_rest) / self.num_examples
        moved = self.eigenvectors @ (gain * self.residual)
        return f0 + (as_matrix(kernel) @ moved).reshape(f0.shape)


def gradient_flow(kernel: np.ndarray, f0: np.ndarray, y: np.ndarray) -> GradientFlow:
    """The flow on training inputs with NTK ``kernel [n, n, C, C]``, outputs ``f0``, targets ``y``.

    Eigenvalues below 0, which rounding makes, count as 0. Raises ValueError when shapes do not fit.
    """
    matrix = as_matrix(kernel)
    if f0.shape != y.shape or matrix.shape != (f0.size, f0.size):
        raise ValueError(
            f"a kernel of {matrix.shape} does not fit outputs {f0.shape} and targets {y.shape}"
        )
    eigenvalues, eigenvectors = np.linalg.eigh((matrix + matrix.T) / 2)
    residual = eigenvectors.T @ (np.asarray(y, np.float64) - f0).ravel()
    return GradientFlow(np.maximum(eigenvalues, 0.0), eigenvectors, residual, len(f0))
