"""Exact empirical neural tangent kernels of any function, masked or not.

``K[i, j, k, l] = <d f_k(x_i) / d theta, d f_l(x_j) / d theta>`` for ``f(params * mask)`` (Jacot
et al., arXiv 1806.07572). What is returned is named, because codes differ in it:

==========  ============  ==========================================================
outputs     shape         entry
==========  ============  ==========================================================
full        [n1,n2,C,C]   the whole kernel
trace       [n1,n2]       ``sum_k K[i,j,k,k]`` (a sum, not a mean over outputs)
sum         [n1,n2]       ``sum_kl K[i,j,k,l]``: the gradient of the sum of the logits
class:k     [n1,n2]       ``K[i,j,k,k]``; the index ``k`` alone says the same
P [C, k]    [n1,n2,k,k]   ``sum_cd P[c,k] K[i,j,c,d] P[d,l]``: combined outputs
==========  ============  ==========================================================
"""

import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ntk_prune.coordinates import Wrt
from ntk_prune.ntk import kernel_files
from ntk_prune.ntk.backends.batching import compute
from ntk_prune.ntk.backends.cost import Cost
from ntk_prune.ntk.backends.select import allowed_memory, choose
from ntk_prune.ntk.functions import Function, Outputs, check_uncoupled
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.ntk.problem import KernelProblem
from ntk_prune.types import Mask, Params, State


def empirical_ntk(
    f: Function,
    params: Params,
    x1: Inputs,
    x2: Inputs | None = None,
    *,
    state: State = None,
    mask: Mask | None = None,
    outputs: Outputs = "full",
    wrt: Wrt = "all",
    backend: str = "auto",
    accumulate: str | None = None,
    chunk: int | None = None,
    memory_limit: int | None = None,
    devices: Sequence[Any] | None = None,
    progress: bool | None = None,
    out: str | os.PathLike | None = None,
) -> np.ndarray:
    """The empirical NTK between ``x1 [n1, ...]`` and ``x2 [n2, ...]``, on the host.

    Without ``x2`` the kernel is symmetric and only half of it is computed. The cost falls with the
    density of ``mask``, since only surviving coordinates are contracted.

    Args:
        f: ``f(params, x [B, ...]) -> [B, ...]``, each output row depending on its own example
            alone, ``C`` numbers in one array or several; or a ``Model``, which is run under the
            running statistics in ``state``. What a function reads besides its arguments is part of
            it: where that has changed, it is compiled anew.
        params: The parameters, any tree of arrays, of which only those of real or complex numbers
            are differentiated; where ``mask`` is given the network is ``f(params * mask)``.
        x1: Inputs, an array or a tree of arrays with the examples in their first axis.
        x2: Other inputs; None for ``x1`` itself. Arrays that are spread over several devices are
            gathered first; ``devices`` spreads the work.
        state: The state of a ``Model``.
        mask: A boolean tree of the treedef of ``params``.
        outputs: ``"full"``, ``"trace"``, ``"sum"``, ``"class:k"``, an index ``k`` or a projection
            ``[C, k]``; see the module.
        wrt: ``"all"`` parameters, only the ``"prunable"`` ones (convolution and linear kernels), or
            a predicate on their paths, or a tree of bools like ``params``.
        backend: ``"layerwise"`` (layer inputs times output gradients), ``"jacobian"`` (reverse
            mode, vmapped), ``"vector_products"``, ``"neural_tangents"`` (that library, to check the
            others against), or ``"auto"``, the one of the first three with the fewest counted
            operations that fits.
        accumulate: ``"float32"`` or ``"float64"`` products; default the type of the outputs.
        chunk: Examples differentiated at a time; default from the memory estimate.
        memory_limit: Bytes to stay under; default 80% of what is free now.
        devices: Devices over which the rows are spread; the numbers do not depend on them.
        progress: Whether to show a bar; default only on a terminal.
        out: A ``.npy`` file in which the kernel is built block by block, for one larger than
            memory: it does not count against ``memory_limit``. The file has this name only when it
            is complete; what is returned is the file, mapped into memory for reading.

    Returns:
        ``[n1, n2, C, C]`` for ``"full"``, ``[n1, n2, k, k]`` for a projection, else ``[n1, n2]``.
        Where an example has outputs of another shape than ``[C]``, as a sequence ``[T, C]``, a full
        kernel has that shape twice.

    Raises:
        ValueError: for an unknown word, a mask that does not fit, or a function that couples the
            examples of a batch, such as batch norm under batch statistics.
        FloatingPointError: for non-finite Jacobians, naming the inputs.
        MemoryError: when the kernel cannot fit, with the bytes it needs.

    >>> import jax.numpy as jnp
    >>> w = {"kernel": jnp.array([[1.0, -1.0], [2.0, 0.5]])}
    >>> x = jnp.array([[3.0, 4.0], [1.0, 0.0]])
    >>> empirical_ntk(lambda p, x: x @ p["kernel"], w, x, outputs="trace").tolist()
    [[50.0, 6.0], [6.0, 2.0]]
    """
    problem = KernelProblem(f, params, x1, x2, state, mask, outputs, wrt)
    variables = problem.params, problem.state
    used = list(devices or jax.local_devices()[:1])
    if out is not None:
        kernel_files.check_name(out)
        size = math.prod(problem.shape) * np.dtype(accumulate or problem.dtype).itemsize
        memory_limit = allowed_memory(memory_limit, used[0]) + size
    with jax.default_matmul_precision("highest"):
        check_uncoupled(problem.f, problem.params, problem.x1)
        engine = choose(problem, backend, accumulate, chunk, memory_limit, used)

        def build(into: np.ndarray | None = None) -> np.ndarray:
            kernel = compute(engine, variables, problem.x1, problem.x2, used, progress, into)
            _check_finite(kernel, x2 is None)
            return kernel

        if out is not None:
            return kernel_files.built_in_file(out, problem.shape, engine.dtype, build)
        return build().reshape(problem.shape)


def estimate_cost(
    f: Function, params: Params, x1: Inputs, x2: Inputs | None = None, **options: Any
) -> Cost:
    """What ``empirical_ntk`` with the same arguments will do and cost, without running it.

    ``print(estimate_cost(...))`` is the dry run. ``x1`` and ``x2`` may be ``jax.ShapeDtypeStruct``.
    ``options``: the keyword arguments of ``empirical_ntk``, but for ``progress`` and
    ``out``.
    """
    kernel = {k: options.pop(k) for k in ("state", "mask", "outputs", "wrt") if k in options}
    return choose(KernelProblem(f, params, x1, x2, **kernel), **options).cost


def _check_finite(kernel: np.ndarray, symmetric: bool) -> None:
    """Raise FloatingPointError naming the inputs whose Jacobians are not finite."""
    number, rows, columns = 0, [], np.ones(kernel.shape[1], bool)
    for row in kernel:  # which may lie in a file
        bad = ~np.isfinite(row.reshape(len(row), -1)).all(axis=-1)
        number += int(bad.sum())
        rows.append(bad.all())
        columns &= bad
    if not number:
        return
    named = [("x1", np.array(rows))] + ([] if symmetric else [("x2", columns)])
    text = "; ".join(f"rows {_rows(bad)} of {x}" for x, bad in named if bad.any())
    raise FloatingPointError(
        f"non-finite Jacobian at {text}: look for NaN or infinite inputs or parameters there"
        if text
        else f"{number} kernel entries overflow: use accumulate='float64'"
    )


def _rows(bad: np.ndarray) -> str:
    """The first of the rows that are bad throughout."""
    indices = np.flatnonzero(bad).tolist()
    return ", ".join(map(str, indices[:10])) + (", ..." if len(indices) > 10 else "")
