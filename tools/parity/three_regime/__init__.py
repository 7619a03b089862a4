"""The three-regime model (Zhou et al., arXiv 2305.18383) and the codes it builds on.

``networks`` reads the files; of each file one module says what it holds: ``lmc``, ``cka``,
``masks``, ``sam``, ``hessian``.
"""
