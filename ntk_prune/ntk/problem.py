"""Which kernel of which function is wanted: what every backend starts from."""

import dataclasses
import functools

import jax
import numpy as np

from ntk_prune.coordinates import Wrt
from ntk_prune.ntk import inputs
from ntk_prune.ntk.functions import (
    Function,
    Outputs,
    call,
    check_params,
    check_state,
    masked,
    named,
    outputs_of,
)
from ntk_prune.ntk.identity import keyed
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.types import Array, Mask, Model, Params, State


@dataclasses.dataclass(frozen=True, eq=False)
class KernelProblem:
    """The kernel of ``f(params * mask)`` between ``x1`` and ``x2``, or ``x1`` and itself.

    The fields are the arguments of ``empirical_ntk``; afterwards ``params`` are masked,
    ``outputs`` is a name, and arrays lie on one device each. Raises ValueError for what does not
    fit together.
    """

    f: Function
    params: Params
    x1: Inputs
    x2: Inputs | None = None
    state: State = None
    mask: Mask | None = None
    outputs: Outputs = "full"
    wrt: Wrt = "all"

    def __post_init__(self):
        check_state(self.f, self.state)
        check_params(self.f, self.params)
        inputs.count(self.x1)
        if self.x2 is not None:
            inputs.count(self.x2)
            inputs.check_alike(self.x1, self.x2)
        f, outputs = named(self.f, self.outputs)
        object.__setattr__(self, "f", f if isinstance(f, Model) else keyed(f))
        object.__setattr__(self, "outputs", outputs)
        for name in ("params", "x1", "x2", "state", "mask"):
            object.__setattr__(self, name, inputs.gathered(getattr(self, name)))
        object.__setattr__(self, "params", masked(self.params, self.mask))

    @functools.cached_property
    def example(self) -> Inputs:
        """Shapes and types of a batch of one example."""
        return inputs.spec(self.x1, 1)

    @property
    def convention(self) -> str:
        """The name that ``outputs`` stands for."""
        return str(self.outputs)

    @functools.cached_property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of an example's outputs; of several arrays ``(C,)``, all their numbers."""
        leaves = self._output_leaves
        return leaves[0].shape[1:] if len(leaves) == 1 else (sum(leaf.size for leaf in leaves),)

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of the kernel."""
        x2 = self.x1 if self.x2 is None else self.x2
        twice = self.output_shape * 2 if self.convention == "full" else ()
        return (inputs.count(self.x1), inputs.count(x2), *twice)

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """The type of the outputs, at least float32: that of the kernel unless another is asked."""
        return np.result_type(*(leaf.dtype for leaf in self._output_leaves), np.float32)

    @property
    def _output_leaves(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        variables, structure = jax.tree.flatten((self.params, self.state, self.example))
        shapes = tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in variables)
        return _trace_outputs(self.f, structure, shapes)


@functools.lru_cache(maxsize=64)
def _trace_outputs(f: Function, structure, shapes) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and types of the outputs for one example, by tracing. ValueError for none."""

    def outputs(params: Params, state: State, x: Inputs) -> list[Array]:
        call(f, params, state, x)  # which says what is wrong with them
        return jax.tree.leaves(outputs_of(f, params, state, x))

    return tuple(jax.eval_shape(outputs, *structure.unflatten(shapes)))
