"""The nouns of the package. No logic, no jax computation.

Shapes: ``n`` batches of ``B`` examples with ``C`` outputs; a tree "of the treedef of Params" has
exactly one array per parameter array, of its shape, and no ``None`` leaves.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

Array = jax.Array | np.ndarray  # on a device or, before it gets there, on the host
Dtype = Literal["bfloat16", "float32"] | None  # of the computation; None follows the inputs
BatchNormMode = Literal["batch", "running"]  # by the statistics of the batch, or the stored ones
Key = jax.Array
Device = Any  # a jax.Device, which is not a type to type checkers
Params = Any  # nested dict of float arrays
State = Any  # nested dict of non-trainable arrays (batch-norm running statistics); {} if none
Mask = Any  # bool arrays with the treedef of Params; True = kept, always True where not prunable
Scores = Any  # float arrays with the treedef of Params; larger = keep, 0 where not prunable


class Stack(Protocol):
    """``[n, B, ...]`` inputs, arrays once some are taken: ``x[i]``. Any array is one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class Batch(NamedTuple):
    """A stack of ``n`` batches: ``x [n, B, ...]`` float inputs, ``y [n, B]`` integer labels."""

    x: Stack
    y: Array


class InitFn(Protocol):
    """``init(key, x [B, ...]) -> (params, state)``."""

    def __call__(self, key: Key, x: Array) -> tuple[Params, State]: ...


class Activation(Protocol):
    """What a network does where it is not linear, and in the affine maps of its batch norms.

    ``relu(x)``; ``max_pool(x [B, H, W, C], window, stride, padding)``, square and symmetric;
    ``affine(x, mean, slope, bias) = (x - mean) * slope + bias``. See ``ntk_prune.activations``.
    """

    def relu(self, x: Array) -> Array: ...

    def max_pool(self, x: Array, window: int, stride: int, padding: int = 0) -> Array: ...

    def affine(self, x: Array, mean: Any, slope: Any, bias: Any) -> Array: ...


class ApplyFn(Protocol):
    """``apply(params, state, x, *, train, momentum, axis_name, activation) -> (logits, state)``.

    ``train`` selects batch norm's mode: batch statistics (True) or running statistics (False).
    ``momentum`` is the share of the old running statistics that a training pass keeps; 0 leaves
    exactly this batch's statistics in the returned state. ``axis_name`` synchronises the batch
    statistics over a mapped axis. ``activation`` replaces the ReLUs, max pools and affine maps; a
    network that is not piecewise linear raises ValueError for any but None.
    """

    def __call__(
        self,
        params: Params,
        state: State,
        x: Array,
        *,
        train: bool,
        momentum: float = 0.9,
        axis_name: str | None = None,
        activation: Activation | None = None,
    ) -> tuple[Array, State]: ...


@dataclasses.dataclass(frozen=True)
class Model:
    """A network as two pure functions. Hashable, so it can be a static argument of ``jit``."""

    init: InitFn
    apply: ApplyFn


class ScoreFn(Protocol):
    """``score(key, model, params, state, mask, batches) -> Scores``, larger = keep."""

    def __call__(
        self, key: Key, model: Model, params: Params, state: State, mask: Mask, batches: Batch
    ) -> Scores: ...


DensitySchedule = Callable[[int, int, float], float]
"""``schedule(round, num_rounds, density) -> density`` to reach after ``round`` (1-based)."""


class Pruner(NamedTuple):
    """A criterion and how it is iterated: the score, its density schedule, rounds and scope.

    ``follows_paths``: it needs a model that takes ``activation``. ``exclude``: modules, by their
    paths, whose weights are neither pruned nor counted. ``reads``: what it takes from the batches.
    ``unused``: its options that change nothing beside the others.
    """

    score: ScoreFn
    schedule: DensitySchedule
    num_rounds: int = 1
    scope: str = "global"
    follows_paths: bool = False
    exclude: tuple[str, ...] = ()
    reads: Literal["examples", "shapes", "nothing"] = "examples"
    unused: tuple[str, ...] = ()
