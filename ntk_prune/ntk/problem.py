"""Which kernel of which function is wanted: what every backend starts from."""

import dataclasses
import functools

import jax
import numpy as np

from ntk_prune.coordinates import Wrt
from ntk_prune.ntk import inputs
from ntk_prune.ntk.functions import Function, call, check_params, check_state, masked
from ntk_prune.ntk.identity import keyed
from ntk_prune.ntk.inputs import Inputs
from ntk_prune.types import Mask, Model, Params, State


@dataclasses.dataclass(frozen=True, eq=False)
class KernelProblem:
    """The kernel of ``f(params * mask)`` between ``x1`` and ``x2``, or ``x1`` and itself.

    The fields are the arguments of ``empirical_ntk``; afterwards ``params`` are masked. Raises
    ValueError for what does not fit together.
    """

    f: Function
    params: Params
    x1: Inputs
    x2: Inputs | None = None
    state: State = None
    mask: Mask | None = None
    outputs: str = "full"
    wrt: Wrt = "all"

    def __post_init__(self):
        check_state(self.f, self.state)
        check_params(self.f, self.params)
        inputs.count(self.x1)
        if self.x2 is not None:
            inputs.count(self.x2)
            inputs.check_alike(self.x1, self.x2)
        if not isinstance(self.f, Model):
            object.__setattr__(self, "f", keyed(self.f))
        object.__setattr__(self, "params", masked(self.params, self.mask))

    @functools.cached_property
    def example(self) -> Inputs:
        """Shapes and types of a batch of one example."""
        return inputs.spec(self.x1, 1)

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """The type of the outputs, at least float32: that of the kernel unless another is asked."""
        traced = functools.partial(call, self.f)
        outputs = jax.eval_shape(traced, self.params, self.state, self.example)
        return np.result_type(outputs.dtype, np.float32)
