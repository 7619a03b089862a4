"""The neural tangent kernel of pruned networks: scores, masks, kernels, masked training."""

__version__ = "0.1.0"
