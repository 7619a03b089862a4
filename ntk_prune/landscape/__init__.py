"""The loss between and around trained networks."""

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

__all__ = [
    "Line",
    "ModeConnectivity",
    "barrier",
    "barrier_height",
    "batch_statistics",
    "interpolate",
    "line",
    "mode_connectivity",
]
