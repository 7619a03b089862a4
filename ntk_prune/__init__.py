"""The neural tangent kernel of pruned networks: scores, masks, kernels and masked training in JAX."""

__version__ = "0.1.0"
