"""Which kernel of which function is wanted: what every way of computing it starts from."""

from typing import NamedTuple

from ntk_prune.ntk.jacobian import Function, masked
from ntk_prune.ntk.layerwise import Plan, make_plan
from ntk_prune.types import Array, Mask, Model, Params, State


class Problem(NamedTuple):
    """The kernel of ``f`` at ``params``, masked already, between ``x1`` and ``x2``.

    The fields are the arguments of ``empirical_ntk``; ``x2`` is None for ``x1`` itself.
    """

    f: Function
    params: Params
    x1: Array
    x2: Array | None
    state: State
    mask: Mask | None
    outputs: str
    wrt: str

    def plan(self, *, tapped: bool) -> Plan:
        """What is differentiated, which the second inputs do not change."""
        f, params, x1, _, state, mask, outputs, wrt = self
        return make_plan(f, params, state, mask, x1, outputs, wrt, tapped=tapped)


def problem(
    f: Function,
    params: Params,
    x1: Array,
    x2: Array | None = None,
    *,
    state: State = None,
    mask: Mask | None = None,
    outputs: str = "full",
    wrt: str = "all",
) -> Problem:
    """The kernel of ``f(params * mask)``. Raises ValueError for what does not fit together."""
    if isinstance(f, Model) and state is None:
        raise ValueError("the kernel of a Model needs its `state` ({} where it has none)")
    if not isinstance(f, Model) and state is not None:
        raise ValueError("`state` belongs to a Model; bind it into the function f(params, x)")
    if x2 is not None and x2.shape[1:] != x1.shape[1:]:
        raise ValueError(f"inputs differ in shape: {x1.shape[1:]} and {x2.shape[1:]} an example")
    if x1.shape[0] == 0 or (x2 is not None and x2.shape[0] == 0):
        raise ValueError("the kernel of no inputs was asked for")
    return Problem(f, masked(params, mask), x1, x2, state, mask, outputs, wrt)
