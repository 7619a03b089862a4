"""Inertial manifolds of gradient flow near trained weights, and what pruning can take from them."""
