"""The ways to compute an empirical kernel, one file each with one constructor.

``engine(problem, budget) -> Engine`` counts what a backend will cost within the budget and returns
the functions that compute its blocks; ``batching.compute`` runs them. ``select.choose`` picks a
backend by name, or by its counted cost.

====================  ==========================================================================
layerwise             input times output gradients of every linear layer (``features``)
jacobian              Jacobians in reverse mode, vmapped over the examples (``features``)
vector_products       a Jacobian-vector product for every column
neural_tangents       the library of that name, to check the others against
====================  ==========================================================================
"""
