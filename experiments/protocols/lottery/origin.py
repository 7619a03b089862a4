"""What a branch of a lottery starts from."""

from typing import Protocol

import optax

from ntk_prune.training import TrainState
from ntk_prune.types import Array, Key, Mask, Model, Params, State


class Origin(Protocol):
    """One level of one replicate of the parent, and the network that is made from it.

    ``model``, ``example`` and ``optimizer`` are the branch's own.
    """

    model: Model
    example: Array
    optimizer: optax.GradientTransformation

    @property
    def shapes(self) -> tuple[Params, State]:
        """Weights and state of the branch's network, without values."""
        ...

    @property
    def ticket(self) -> TrainState:
        """The ticket before its training."""
        ...

    @property
    def rewind_point(self) -> TrainState:
        """The dense network at the rewind step."""
        ...

    @property
    def dense_final(self) -> tuple[Params, State]:
        """The trained dense network."""
        ...

    @property
    def early(self) -> TrainState:
        """The dense network at the branch's early step."""
        ...

    def key(self, name: str) -> Key:
        """A key of the stream ``name`` that no other level, branch or replicate has."""
        ...

    def rewound(self, state: TrainState, mask: Mask, strategy: str | None = None) -> TrainState:
        """``state`` under ``mask``, rescaled where the strategy, or the parent's, says so."""
        ...

    def pruned_at_once(self, params: Params, state: State, strategy: str | None) -> Mask:
        """A mask as dense as the ticket's for a dense network, by the parent's or another
        strategy."""
        ...
