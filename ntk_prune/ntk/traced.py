"""The kernel as a JAX array: inside ``jit``, vmapped over networks, differentiated."""

import jax

from ntk_prune.coordinates import Wrt
from ntk_prune.ntk.backends.batching import arranged
from ntk_prune.ntk.backends.features import features, product
from ntk_prune.ntk.backends.plan import make_plan
from ntk_prune.ntk.functions import Function, Outputs, check_uncoupled
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.ntk.problem import KernelProblem
from ntk_prune.types import Array, Mask, Params, State


def traced_ntk(
    f: Function,
    params: Params,
    x1: Inputs,
    x2: Inputs | None = None,
    *,
    state: State = None,
    mask: Mask | None = None,
    outputs: Outputs = "full",
    wrt: Wrt = "all",
) -> Array:
    """The kernel of ``empirical_ntk`` as a function of ``params``, ``x1``, ``x2`` and ``state``
    that JAX transforms: for problems that fit into memory in one piece.

    It contracts as the layerwise backend does, without chunks, an estimate of memory, or a check
    that the numbers are finite. Arguments, shapes and errors are those of ``empirical_ntk``; the
    mask says which coordinates there are, so it must be known while the program is traced. Where
    parameters are traced it is not checked whether ``f`` couples the examples of a batch.

    >>> import jax.numpy as jnp
    >>> f = lambda p, x: x * p[None] ** 2
    >>> kernel = lambda p: traced_ntk(f, p, jnp.ones((1, 1)), outputs="trace")[0, 0]   # (2 p)^2
    >>> float(jax.grad(lambda p: kernel(p[None]))(jnp.array(3.0)))
    24.0
    """
    problem = KernelProblem(f, params, x1, x2, state, mask, outputs, wrt)
    check_uncoupled(problem.f, problem.params, problem.x1)
    try:
        plan = make_plan(problem, tapped=True)
    except jax.errors.TracerArrayConversionError:
        raise ValueError("the mask is traced: bind it into the function that is compiled") from None
    with jax.default_matmul_precision("highest"):
        variables = problem.params, problem.state
        left = features(plan, *variables, problem.x1)
        right = left if problem.x2 is None else features(plan, *variables, problem.x2)
        block = product(left, right, trace=plan.outputs == "trace", dtype=problem.dtype.name)
    return arranged(block, plan.outputs).reshape(problem.shape)
