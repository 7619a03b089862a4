"""The loss between and around trained networks, and how alike their outputs are."""

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
from ntk_prune.landscape.similarity import (
    agreement,
    cosine,
    jensen_shannon,
    linear_cka,
    outputs,
    softmax,
)

__all__ = [
    "Line",
    "MaskedLoss",
    "ModeConnectivity",
    "agreement",
    "barrier",
    "barrier_height",
    "batch_statistics",
    "cosine",
    "interpolate",
    "jensen_shannon",
    "line",
    "linear_cka",
    "mode_connectivity",
    "outputs",
    "softmax",
]
