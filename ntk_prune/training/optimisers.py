"""Optimisers and learning-rate schedules (in steps), with the conventions of PyTorch."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from ntk_prune import masks
from ntk_prune.types import Mask, Params

SCHEDULES = ("constant", "step", "cosine")


def learning_rate(
    peak: float,
    num_steps: int,
    schedule: str = "constant",
    *,
    drops: Sequence[int] = (),
    factor: float = 0.1,
    warmup: int = 0,
) -> optax.Schedule:
    """``step -> learning rate``: ``min(1, step / warmup)`` times one of three decays.

    Args:
        peak: The rate after warm-up.
        num_steps: Length of the training; the cosine reaches 0 there.
        schedule: constant; step (times ``factor`` from each of ``drops`` on); cosine.
        drops: Steps at which the rate drops, counted from the start of training.
        factor: What the rate is multiplied by at a drop.
        warmup: Steps of linear warm-up from 0.

    >>> rate = learning_rate(0.1, 100, "step", drops=(50, 75))
    >>> [round(float(rate(t)), 6) for t in (0, 49, 50, 75)]
    [0.1, 0.1, 0.01, 0.001]
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}")
    if drops and schedule != "step":
        raise ValueError(f"drops belong to schedule 'step', not to {schedule!r}")
    if num_steps < 1:
        raise ValueError(
            "a training of 0 steps: lengthen it, or take batches no larger than the training set"
        )
    if not 0 <= warmup < num_steps:
        raise ValueError(f"warmup must lie in [0, {num_steps}) steps, got {warmup}")
    steps = optax.piecewise_constant_schedule(peak, dict.fromkeys(drops, factor))
    cosine = optax.cosine_decay_schedule(peak, num_steps - warmup)

    def rate(step):
        warm = jnp.minimum(1.0, step / warmup) if warmup else 1.0
        return warm * (
            cosine(jnp.maximum(step - warmup, 0)) if schedule == "cosine" else steps(step)
        )

    return rate


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """PyTorch's SGD, weight decay coupled to the gradient of every trainable parameter.

    ``g = grad + weight_decay w``; ``b = momentum b + g`` (at first ``b = g``);
    ``w -= lr b``, or with Nesterov ``w -= lr (g + momentum b)``.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.sgd(learning_rate, momentum or None, nesterov and momentum > 0),
    )


def adam(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """Adam (arXiv 1412.6980), weight decay coupled to the gradient as in PyTorch."""
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(learning_rate))


def adamw(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float = 0.01
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay, ``w -= lr weight_decay w`` (arXiv 1711.05101)."""
    return optax.adamw(learning_rate, weight_decay=weight_decay)


def ascent(gradient: Params, params: Params, rho: float, adaptive: bool = False) -> Params:
    """The step of SAM to the sharpest point within ``rho``, to first order (arXiv 2010.01412).

    ``e = rho g / (||g|| + 1e-12)``; adaptive (arXiv 2102.11600)
    ``e = rho w^2 g / (|| |w| g || + 1e-12)``. Norms are over all parameters.

    Not ``optax.contrib.sam``: it lacks the 1e-12, so a zero gradient becomes NaN, and keeps copies
    of the parameters in its state.

    >>> ascent({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([1.0, 0.0])}, 0.5)["w"].tolist()
    [0.30000001192092896, 0.4000000059604645]
    >>> ascent({"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([2.0, 0.0])}, 0.5, True)["w"].tolist()
    [1.0, 0.0]
    """
    if not adaptive:
        scale = rho / (optax.tree.norm(gradient) + 1e-12)
        return jax.tree.map(lambda g: scale * g, gradient)
    norm = optax.tree.norm(jax.tree.map(lambda g, w: jnp.abs(w) * g, gradient, params))
    scale = rho / (norm + 1e-12)
    return jax.tree.map(lambda g, w: scale * jnp.square(w) * g, gradient, params)


def scaled(
    optimizer: optax.GradientTransformation, factors: Mapping[str, float]
) -> optax.GradientTransformation:
    """``optimizer`` with the updates of some modules multiplied: ``{"backbone": 0.1, "fc": 0}``.

    A name is a path of modules from the top, ``"backbone"`` or ``"blocks_0/conv1"``; 0 freezes it.
    Raises ValueError, when it starts, for a name that no parameter has.
    """

    def factor(key_path) -> float:
        name = masks.name_of(key_path)
        within = [n for n in factors if name == n or name.startswith(f"{n}/")]
        return factors[max(within, key=len)] if within else 1.0

    def init(params: Params) -> optax.EmptyState:
        paths = [masks.name_of(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
        for name in factors:
            if not any(path == name or path.startswith(f"{name}/") for path in paths):
                raise ValueError(f"no parameter lies under {name!r}")
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        return jax.tree_util.tree_map_with_path(lambda p, u: u * factor(p), updates), state

    return optax.chain(optimizer, optax.GradientTransformation(init, update))


def masked_updates(
    optimizer: optax.GradientTransformation, mask: Mask, *, project: bool = False
) -> optax.GradientTransformation:
    """``optimizer`` that keeps pruned weights pruned, in any training loop of optax.

    It is given ``gradient * mask`` and ``w * mask``, and its update is multiplied by the mask:
    moments of pruned weights stay zero, weight decay and norms leave them out, and a weight that
    is zero stays exactly zero. With a mask of ones it is ``optimizer``.

    Args:
        optimizer: The update rule.
        mask: Which weights are kept, with the structure of the parameters.
        project: The update of a pruned weight is ``-w``, so that it is zero after the first step,
            wherever it was; otherwise it stays where it is. Its ``update`` then needs ``params``.

    Raises ValueError, when it starts, for a mask that is not that of the parameters.

    >>> rule = masked_updates(optax.sgd(1.0), {"w": jnp.array([True, False])}, project=True)
    >>> w = {"w": jnp.array([1.0, 2.0])}
    >>> rule.update({"w": jnp.array([0.5, 0.5])}, rule.init(w), w)[0]["w"].tolist()
    [-0.5, -2.0]
    """

    def init(params: Params) -> optax.OptState:
        masks.check(params, mask)
        return optimizer.init(masks.apply(params, mask))

    def update(updates, state, params=None):
        if project and params is None:
            raise ValueError("project=True needs update(gradient, state, params)")
        kept = None if params is None else masks.apply(params, mask)
        updates, state = optimizer.update(masks.apply(updates, mask), state, kept)
        updates = masks.apply(updates, mask)
        if project:
            updates = jax.tree.map(lambda m, u, w: jnp.where(m, u, -w), mask, updates, params)
        return updates, state

    return optax.GradientTransformation(init, update)


OPTIMISERS = {"sgd": sgd, "adam": adam, "adamw": adamw}
