"""The loss between and around trained networks."""

from ntk_prune.landscape.connectivity import barrier, batch_statistics, interpolate

__all__ = ["barrier", "batch_statistics", "interpolate"]
