"""Linear mode connectivity: loss and error on the straight line between two networks.

Two networks of one architecture are connected when neither rises between them. Frankle et al.
(arXiv 1912.05671) call a network stable at a step if two copies of it, trained from there with
different data orders, end connected. The three-regime model (Zhou et al., arXiv 2305.18383)
measures the connectivity of two retrainings of one pruned network.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ntk_prune.losses import Loss, cross_entropy, labelled
from ntk_prune.types import Array, Model, Params, State

Network = tuple[Params, State]
Prepare = Callable[[Array], Array]


class Line(NamedTuple):
    """What networks on a line are worth, from ``t = 0`` to ``t = 1``; every array is ``[T]``.

    Errors are the wrong fractions and losses the means over the labelled entries.
    """

    t: np.ndarray
    train_error: np.ndarray
    train_loss: np.ndarray
    test_error: np.ndarray
    test_loss: np.ndarray


class ModeConnectivity(NamedTuple):
    """The published ``value`` (negative: a barrier) and the ``index`` of the point it is taken at.

    At the first or last point the sign says only which network comes first: use ``abs(value)``.
    """

    value: float
    index: int


def interpolate(a: Any, b: Any, t: float | Array) -> Any:
    """``(1 - t) a + t b``, leaf by leaf: weights, or running statistics."""
    return jax.tree.map(lambda x, y: (1 - t) * x + t * y, a, b)


def barrier(errors: Sequence[float] | np.ndarray) -> float:
    """``max_t error(t) - (error(0) + error(1)) / 2`` of ``errors [T]``, from t = 0 to t = 1.

    The instability of Frankle et al. (arXiv 1912.05671).

    >>> barrier([0.0, 0.5, 0.25])
    0.375
    """
    values = _checked(errors)
    return float(values.max() - (values[0] + values[-1]) / 2)


def barrier_height(values: Sequence[float] | np.ndarray) -> float:
    """``max_t v(t) - (1 - t) v(0) - t v(1)`` of ``values [T]`` at evenly spaced t.

    How far a loss or an error rises above the straight line between its end points (Entezari et
    al., arXiv 2110.06296); never negative.

    >>> barrier_height([0.0, 0.5, 0.25])
    0.375
    >>> barrier_height([0.0, 0.25, 0.5])
    0.0
    """
    v = _checked(values)
    t = np.linspace(0, 1, v.size)
    rises = v - ((1 - t) * v[0] + t * v[-1])
    return float(rises[1:-1].max(initial=0.0))


def mode_connectivity(errors: Sequence[float] | np.ndarray) -> ModeConnectivity:
    """``m - error(t*)`` with ``m = (error(0) + error(1)) / 2``, ``t* = argmax_t |m - error(t)|``.

    As in the code of the three-regime model (arXiv 2305.18383), of training ``errors [T]`` with
    the batch norms estimated anew at every point; the first maximum counts. It is not the height
    of a barrier: the end points take part, so ``|value| >= |error(0) - error(1)| / 2``, and they
    always tie with each other.

    >>> mode_connectivity([0.25, 1.0, 0.25])
    ModeConnectivity(value=-0.75, index=1)
    """
    values = _checked(errors)
    differences = (values[0] + values[-1]) / 2 - values
    index = int(np.abs(differences).argmax())
    return ModeConnectivity(float(differences[index]), index)


def _checked(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """``values`` in float64. ValueError unless they are the points of a line."""
    points = np.asarray(values, np.float64)
    if points.ndim != 1 or points.size < 2:
        raise ValueError(f"a line has at least 2 points in one dimension, got {points.shape}")
    return points


def unprepared(x: Array) -> Array:
    """``x`` itself: inputs that are ready for the network."""
    return x


def batch_statistics(
    model: Model,
    params: Params,
    state: State,
    batches: Iterable[Array],
    prepare: Prepare = unprepared,
) -> State:
    """The running statistics of ``params``, estimated anew over ``batches`` of ``x [B, ...]``.

    ``sum_i n_i s_i / N`` with ``n_i`` the examples of batch ``i`` and ``s_i`` the mean and the
    unbiased variance within it, each batch normalised by its own statistics. The variance between
    batches does not enter. Without batch norm, ``state`` itself.

    Between two networks neither's statistics hold (Jordan et al., arXiv 2211.08403).

    Raises ValueError when there are no batches.
    """
    if not state:
        return state
    network = jax.tree.map(lambda leaf: leaf[None], (params, state))
    estimated = _statistics(model, network, batches, prepare, None)
    return jax.tree.map(lambda leaf: leaf[0], estimated)


def line(
    model: Model,
    a: Network,
    b: Network,
    train: Iterable[tuple[Array, Array]],
    test: Iterable[tuple[Array, Array]],
    *,
    statistics: Iterable[Array] | None = None,
    prepare: Prepare = unprepared,
    points: int = 11,
    at_once: int = 1,
    loss: Loss = cross_entropy,
) -> Line:
    """Loss and error of ``(1 - t) a + t b`` over all parameters, under the running statistics.

    Every data set is read once, for all points together. Calls with the same ``model``,
    ``prepare`` and ``loss`` and arrays of the same shapes share what they compile.

    Args:
        model: The network.
        a: Its parameters, multiplied by their mask, and state at t = 0.
        b: The same at t = 1.
        train: Batches ``(x [B, ...], y [B, ...])`` of any sizes.
        test: The same of the test set.
        statistics: Inputs ``x [B, ...]``, batch by batch, over which ``batch_statistics`` are
            estimated at every point, the end points included; None interpolates the networks' own.
            As published: the training set without augmentation, 64 at a time, the rest last.
        prepare: Raw inputs to those of the network.
        points: The number of values of t, evenly spaced.
        at_once: How many points one mapped program evaluates; more are faster where a small
            network leaves an accelerator idle.
        loss: One number per labelled entry.

    Raises ValueError for fewer than two points, networks of different shapes, and no batches.
    """
    if points < 2 or at_once < 1:
        raise ValueError(f"a line takes points >= 2 and at_once >= 1, got {points} and {at_once}")
    _check_alike(a, b)
    mapped = None if at_once == 1 else min(at_once, points)
    t = np.linspace(0, 1, points)
    networks = _between(a, b, t)
    if statistics is not None and networks[1]:
        networks = networks[0], _statistics(model, networks, statistics, prepare, mapped)
    values = functools.partial(_values, model, networks, prepare=prepare, loss=loss, mapped=mapped)
    return Line(t, *values(train), *values(test))


_between = jax.jit(jax.vmap(interpolate, in_axes=(None, None, 0)))


def _check_alike(a: Network, b: Network) -> None:
    shapes = [jax.tree.map(lambda leaf: leaf.shape, network) for network in (a, b)]
    if shapes[0] != shapes[1]:
        raise ValueError("a line needs two networks whose parameters have the same shapes")


def _statistics(
    model: Model, networks: Network, batches: Iterable[Array], prepare: Prepare, mapped: int | None
) -> State:
    """``batch_statistics`` of networks with a leading axis, whose batches are read once."""
    total, count = None, 0
    for x in batches:
        weighted = _weighted_statistics(model, prepare, mapped, *networks, x)
        total = weighted if total is None else jax.tree.map(jax.numpy.add, total, weighted)
        count += len(x)
    if total is None:
        raise ValueError("no batches to estimate the statistics of batch norm over")
    return jax.tree.map(lambda leaf: leaf / count, total)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _weighted_statistics(model, prepare, mapped, params, state, x):
    inputs = prepare(x)

    def of_one(network: Network) -> State:
        _, estimated = model.apply(*network, inputs, train=True, momentum=0.0)
        return jax.tree.map(lambda leaf: len(x) * leaf, estimated)

    return jax.lax.map(of_one, (params, state), batch_size=mapped)


def _values(
    model: Model,
    networks: Network,
    batches: Iterable[tuple[Array, Array]],
    *,
    prepare: Prepare,
    loss: Loss,
    mapped: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Error and loss, both ``[T]``, of networks with a leading axis."""
    sums = [_sums(model, prepare, loss, mapped, *networks, x, y) for x, y in batches]
    if not sums:
        raise ValueError("no examples to evaluate the networks on")
    wrong, losses, count = np.asarray(jax.device_get(sums), np.float64).sum(0)
    return wrong / count, losses / count


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _sums(model, prepare, loss, mapped, params, state, x, y):
    """Wrong entries, loss and labelled entries of each network, all ``[T]``."""
    inputs = prepare(x)

    def of_one(network: Network):
        logits, _ = model.apply(*network, inputs, train=False)
        valid = labelled(y, logits.shape[-1])
        wrong = (logits.argmax(-1) != y) & valid
        return wrong.sum(), (loss(logits, y) * valid).sum(), valid.sum()

    return jax.lax.map(of_one, (params, state), batch_size=mapped)
