"""The loss between and around trained networks, how alike they are, and the regimes of pruned ones.

The procedures that choose a temperature by them are in ``selection``.
"""

from ntk_prune.landscape.connectivity import (
    Line,
    ModeConnectivity,
    barrier,
    barrier_height,
    batch_statistics,
    interpolate,
    line,
    mode_connectivity,
)
from ntk_prune.landscape.hessian import MaskedLoss
from ntk_prune.landscape.regimes import Boundaries, Regimes, boundaries, classify, dead_cells
from ntk_prune.landscape.similarity import (
    agreement,
    cosine,
    jensen_shannon,
    linear_cka,
    outputs,
    softmax,
)

__all__ = [
    "Boundaries",
    "Line",
    "MaskedLoss",
    "ModeConnectivity",
    "Regimes",
    "agreement",
    "barrier",
    "barrier_height",
    "batch_statistics",
    "boundaries",
    "classify",
    "cosine",
    "dead_cells",
    "interpolate",
    "jensen_shannon",
    "line",
    "linear_cka",
    "mode_connectivity",
    "outputs",
    "softmax",
]
