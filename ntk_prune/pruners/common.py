"""What the criteria share: the loss, sums over batches on the host, normalisation."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Literal, ParamSpec, get_args

import jax
import jax.numpy as jnp

from ntk_prune import losses, masks
from ntk_prune.schedules import SCHEDULES
from ntk_prune.types import (
    Array,
    Batch,
    BatchNormMode,
    Mask,
    Model,
    Params,
    Pruner,
    ScoreFn,
    Scores,
    State,
)

P = ParamSpec("P")
Schedule = Literal["exponential", "linear", "one_shot"]
Scope = Literal["global", "layer", "uniform", "uniform_plus", "erk", "erk_rounded"]

OPTIONS = {
    "num_rounds": "How often to score and prune.",
    "schedule": "How the density falls over the rounds.",
    "scope": "Rank all layers together (global), or each alone: the same density in all (layer;"
    " uniform rounds as PyTorch does), uniform with the first layer whole and at least a fifth of"
    " the last (uniform_plus), or Erdos-Renyi-Kernel (erk; erk_rounded rounds layer by layer).",
    "exclude": "Modules that are not pruned and do not count, such as fc.",
    "batch_norm": "Normalise by the batch's statistics or by the running statistics.",
}


def criterion(factory: Callable[P, Pruner]) -> Callable[P, Pruner]:
    """``factory`` with ``OPTIONS`` added to its docstring, but for those it describes itself.

    The ``Args:`` of a factory are the help of its options on the command line. What ten criteria
    share is written once: repeated in each, four lines on ``scope`` alone, the copies would drift.
    """
    text = inspect.getdoc(factory) or ""
    if "\nArgs:\n" not in text:
        text += "\n\nArgs:"
    for name in inspect.signature(factory).parameters:
        if name in OPTIONS and f"\n    {name}: " not in text:
            text += f"\n    {name}: {OPTIONS[name]}"
    factory.__doc__ = f"{text}\n"
    return factory


def make_pruner(
    score: ScoreFn,
    num_rounds: int = 1,
    schedule: Schedule = "one_shot",
    scope: Scope = "global",
    *,
    follows_paths: bool = False,
    exclude: tuple[str, ...] = (),
    reads: Literal["examples", "shapes", "nothing"] = "examples",
    unused: tuple[str, ...] = (),
) -> Pruner:
    """A ``Pruner`` from the options every criterion has; ValueError for one that cannot be."""
    check_at_least(1, num_rounds=num_rounds)
    check_choice(SCHEDULES, schedule=schedule)
    check_choice(masks.SCOPES, scope=scope)
    if num_rounds == 1:  # all schedules reach the density at once
        unused = (*unused, "schedule")
    return Pruner(
        score, SCHEDULES[schedule], num_rounds, scope, follows_paths, exclude, reads, unused
    )


def check_at_least(least: float, **options: float) -> None:
    """Raise ValueError for an option below ``least``."""
    for name, value in options.items():
        if not value >= least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def check_positive(**options: float) -> None:
    """Raise ValueError for an option that is not above zero."""
    for name, value in options.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")


def check_choice(choices: Iterable[str], **options: str) -> None:
    """Raise ValueError for an option that is not one of ``choices``."""
    for name, value in options.items():
        if value not in choices:
            raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}")


def check_batch_norm(batch_norm: str) -> None:
    """Raise ValueError for a mode of batch norm that does not exist."""
    check_choice(get_args(BatchNormMode), batch_norm=batch_norm)


def batch_loss(
    model: Model,
    params: Params,
    state: State,
    x: Array,
    y: Array,
    batch_norm: BatchNormMode,
    temperature: float = 1.0,
) -> Array:
    """Mean cross entropy of ``logits / temperature`` over the labelled entries, batch norm by
    batch or by running statistics."""
    logits, _ = model.apply(params, state, x, train=batch_norm == "batch")
    return losses.mean(losses.cross_entropy, logits / temperature, y)


def accumulate(
    add: Callable[[Params, Array, Array], Params], params: Params, batches: Batch
) -> Params:
    """``add(total, x, y)`` over the batches, from zeros: a host loop, as XLA's CPU backend runs
    convolutions inside a scan several times slower."""
    total = jax.tree.map(jnp.zeros_like, params)
    for x, y in zip(batches.x, batches.y, strict=True):
        total = add(total, x, y)
    return total


def mask_gradient(
    model: Model,
    params: Params,
    state: State,
    mask: Mask,
    batches: Batch,
    batch_norm: BatchNormMode,
) -> Params:
    """``sum_b dL_b/dm`` of the loss of ``f(x_b; theta * m)``; zero where not prunable."""

    def add_batch(sums: Params, x: Array, y: Array) -> Params:
        return _add_mask_gradient(sums, model, params, state, mask, x, y, batch_norm)

    return accumulate(add_batch, params, batches)


@functools.partial(jax.jit, static_argnames=("model", "batch_norm"))
def _add_mask_gradient(sums, model, params, state, mask, x, y, batch_norm):
    def loss(m):
        return batch_loss(model, masks.apply(params, m), state, x, y, batch_norm)

    return add(sums, masks.only_prunable(jax.grad(loss)(masks.as_float(mask, params))))


def add(a: Params, b: Params) -> Params:
    """``a + b``, leaf by leaf."""
    return jax.tree.map(jnp.add, a, b)


def entry_sum(tree: Params) -> Array:
    """The sum over all entries of all leaves."""
    return sum(jax.tree.leaves(jax.tree.map(jnp.sum, tree)), jnp.zeros(()))


def normalise(scores: Scores, params: Params) -> Scores:
    """``scores / |sum of scores|`` in the types of ``params``; all-zero scores, of a disconnected
    network, stay zero."""
    total = abs_total(scores)
    return divide(scores, jnp.where(total > 0, total, 1), params)


# Not to be called in one program: XLA's CPU compiler copies the sum into the division of every
# leaf, and ResNet-20 takes it 4 seconds instead of 1.
@jax.jit
def abs_total(tree: Params) -> Array:
    """``|sum over all entries of all leaves|``."""
    return jnp.abs(entry_sum(tree))


@jax.jit
def divide(scores: Scores, divisor: Array, params: Params) -> Scores:
    """``scores / divisor`` in the types of ``params``."""
    return jax.tree.map(lambda s, p: (s / divisor.astype(s.dtype)).astype(p.dtype), scores, params)
