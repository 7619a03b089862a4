"""Which kernel of which function is wanted: what every backend starts from."""

import dataclasses

from ntk_prune.coordinates import Wrt
from ntk_prune.ntk.functions import Function, check_params, check_state, masked
from ntk_prune.types import Array, Mask, Params, State


@dataclasses.dataclass(frozen=True, eq=False)
class KernelProblem:
    """The kernel of ``f(params * mask)`` between ``x1`` and ``x2``, or ``x1`` and itself.

    The fields are the arguments of ``empirical_ntk``; afterwards ``params`` are masked. Raises
    ValueError for what does not fit together.
    """

    f: Function
    params: Params
    x1: Array
    x2: Array | None = None
    state: State = None
    mask: Mask | None = None
    outputs: str = "full"
    wrt: Wrt = "all"

    def __post_init__(self):
        check_state(self.f, self.state)
        check_params(self.f, self.params)
        x1, x2 = self.x1, self.x2
        if x2 is not None and x2.shape[1:] != x1.shape[1:]:
            raise ValueError(
                f"inputs differ in shape: {x1.shape[1:]} and {x2.shape[1:]} an example"
            )
        if x1.shape[0] == 0 or (x2 is not None and x2.shape[0] == 0):
            raise ValueError("the kernel of no inputs was asked for")
        object.__setattr__(self, "params", masked(self.params, self.mask))
