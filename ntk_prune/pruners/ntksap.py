r"""NTK-SAP: the trace of the NTK, free of data and of one weight draw (arXiv 2304.02840).

Over draws ``i`` of weights ``theta_i``, inputs ``z_i`` and perturbations ``Delta_i`` with standard
deviation ``epsilon`` on the prunable weights,

    score = | sum_i d/dm || f(z_i; theta_i * m) - f(z_i; (theta_i + Delta_i) * m) ||^2 |,

where both networks use batch norm frozen at the statistics of ``z_i`` under ``theta_i * m``.

Differs:
- paper: new weights per input; here and in the published code new weights per batch;
- paper: mean over inputs; here and in the published code the sum, which ranks alike;
- ties at the threshold: kept by index up to the exact count, where the published code prunes all;
- ``estimator="jvp"`` is the limit of the score for ``epsilon -> 0`` if the network is smooth, and
  ``"trace"`` its expectation over ``Delta``. With ReLU neither is the limit: a unit that flips
  between ``theta`` and ``theta + Delta`` adds O(1/epsilon) to the gradient of the difference.

Kernels are redrawn from the model's own initialiser. A bias beside a kernel stays as given; every
other parameter (batch norm's scale and shift) takes its initial value, as in the published code.
"""

import functools
import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.compiling import jit_once
from ntk_prune.pruners.common import (
    Schedule,
    Scope,
    add,
    check_at_least,
    check_choice,
    check_positive,
    criterion,
    entry_sum,
    make_pruner,
)
from ntk_prune.types import Array, Key, Mask, Model, Params, Pruner, State

Inputs = Literal["normal", "uniform", "rademacher", "data"]
Estimator = Literal["finite_difference", "jvp", "trace"]


@criterion
def ntksap(
    num_rounds: int = 20,
    num_draws: int = 5,
    epsilon: float = 0.01,
    input_distribution: Inputs = "normal",
    estimator: Estimator = "finite_difference",
    draws_per_call: int | None = None,
    schedule: Schedule = "exponential",
    scope: Scope = "global",
) -> Pruner:
    """The sensitivity of the NTK's trace to each connection, over random weights and inputs.

    Args:
        num_rounds: T, how often to score and prune.
        num_draws: R, weight draws per batch; with n batches a score averages R n draws.
        epsilon: Standard deviation of the perturbation (the paper's N(0, eps I) has eps = 1e-4).
        input_distribution: normal, uniform and rademacher have unit variance and take only the
            shape of the batches; data takes the batches themselves.
        estimator: finite_difference as published; jvp, the exact directional derivative; trace,
            the exact trace, which costs one backward pass per example and output.
        draws_per_call: Draws vmapped into one dispatch; by default 1 on a CPU, else all of them.
    """
    check_at_least(1, num_draws=num_draws, draws_per_call=draws_per_call or 1)
    check_choice(get_args(Inputs), input_distribution=input_distribution)
    check_choice(get_args(Estimator), estimator=estimator)
    check_positive(epsilon=epsilon)

    def score(key, model, params, state, mask, batches):
        n = num_draws * len(batches.x)
        step = draws_per_call or (1 if jax.default_backend() == "cpu" else n)
        keys = jax.random.split(key, n)
        saliencies = jax.tree.map(jnp.zeros_like, params)
        for i in range(0, n, step):
            x = batches.x[np.arange(i, min(i + step, n)) % len(batches.x)]
            drawn = _draws(
                model.init, params, epsilon, input_distribution, estimator, keys[i : i + step], x
            )
            for output in _outputs(model, params, state, x, estimator):
                saliencies = _add_draws(saliencies, model, state, mask, drawn, output, estimator)
        return _magnitude(saliencies, mask)

    return make_pruner(
        score,
        num_rounds,
        schedule,
        scope,
        reads="examples" if input_distribution == "data" else "shapes",
        unused=() if estimator == "finite_difference" else ("epsilon",),
    )


def saliency(
    model: Model,
    params: Params,
    state: State,
    mask: Mask,
    z: Array,
    delta: Params,
    estimator: Estimator = "finite_difference",
    output: Array | None = None,
) -> Params:
    """``d/dm`` of the objective for one draw: weights ``params``, inputs ``z [B, ...]``.

    ``delta`` perturbs the weights and is zero where they are not prunable. For ``"trace"`` it
    holds the standard deviations ``sigma`` of such a perturbation, and the objective is
    ``sum_{b,k,j} (sigma_j d f_k(z_b; theta * m) / d theta_j)^2``, of which ``output`` selects the
    term of one ``k``; all at once take the memory of ``B C`` gradients.
    """
    _, frozen = model.apply(masks.apply(params, mask), state, z, train=True, momentum=0.0)

    def f(params: Params, z: Array) -> Array:
        return model.apply(params, frozen, z, train=False)[0]

    def objective(m: Params) -> Array:
        if estimator == "trace":
            return _trace(f, params, m, z, delta, output)
        return jnp.square(_change(f, params, m, z, delta, estimator)).sum()

    return masks.only_prunable(jax.grad(objective)(masks.as_float(mask, params)))


def _change(f, params, m, z, delta, estimator):
    """What ``delta`` does to the outputs [B, C]: the difference, or its first order."""
    if estimator == "jvp":
        return jax.jvp(lambda p: f(masks.apply(p, m), z), (params,), (delta,))[1]
    return f(masks.apply(params, m), z) - f(masks.apply(add(params, delta), m), z)


def _trace(f, params, m, z, sigma, output):
    """The sum of squared gradients of the outputs, weighted by ``sigma^2``."""

    def of_one(z, k):
        gradient = jax.grad(lambda p: f(masks.apply(p, m), z[None])[0, k])(params)
        return entry_sum(jax.tree.map(lambda s, g: jnp.square(s * g), sigma, gradient))

    outputs = jnp.arange(f(params, z).shape[-1]) if output is None else output[None]
    over_examples = jax.vmap(of_one, in_axes=(0, None))
    return jax.vmap(over_examples, in_axes=(None, 0))(z, outputs).sum()


def redraw(params: Params, fresh: Params) -> Params:
    """``fresh`` parameters in the types of ``params``, but the given bias beside a kernel."""
    paths = [masks.path_of(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    layers = {masks.parent(path) for path in paths if masks.is_kernel(path)}

    def leaf(key_path, given: Array, drawn: Array) -> Array:
        path = masks.path_of(key_path)
        beside = not masks.is_kernel(path) and masks.parent(path) in layers
        return given if beside else drawn.astype(given.dtype)

    return jax.tree_util.tree_map_with_path(leaf, params, fresh)


def draw_inputs(key: Key, x: Array, distribution: Inputs) -> Array:
    """Inputs of the shape of ``x`` with independent entries of mean 0 and variance 1, or ``x``."""
    if distribution == "data":
        return x
    if distribution == "uniform":
        return jax.random.uniform(key, x.shape, x.dtype, -math.sqrt(3.0), math.sqrt(3.0))
    draw = jax.random.rademacher if distribution == "rademacher" else jax.random.normal
    return draw(key, x.shape, x.dtype)


def draw_perturbation(key: Key, params: Params, epsilon: Array) -> Params:
    """Normal with standard deviation ``epsilon`` on the prunable weights, zero elsewhere."""
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        epsilon * jax.random.normal(k, p.shape, p.dtype) for k, p in zip(keys, leaves, strict=True)
    ]
    return masks.only_prunable(jax.tree.unflatten(treedef, drawn))


def _draw(init, params, epsilon, distribution, estimator, key, x):
    """Freshly drawn weights, inputs like ``x`` and a perturbation."""
    of_weights, of_inputs, of_perturbation = jax.random.split(key, 3)
    weights = redraw(params, init(of_weights, x)[0])
    z = draw_inputs(of_inputs, x, distribution)
    if estimator == "trace":
        delta = masks.only_prunable(jax.tree.map(lambda p: jnp.full_like(p, epsilon), params))
    else:
        delta = draw_perturbation(of_perturbation, params, epsilon)
    return weights, z, delta


@functools.partial(jit_once, static_argnames=("init", "distribution", "estimator"))
def _draws(init, params, epsilon, distribution, estimator, keys, x):
    """What ``_draw`` draws for ``keys [k]`` and batches ``x [k, B, ...]``, stacked."""
    draw = functools.partial(_draw, init, params, epsilon, distribution, estimator)
    return jax.vmap(draw)(keys, x)


@functools.partial(jax.jit, static_argnames=("model", "estimator"))
def _add_draws(sums, model, state, mask, drawn, output, estimator):
    """``sums`` plus the saliencies of what was ``drawn``."""

    def of_draw(draw):
        weights, z, delta = draw
        return saliency(model, weights, state, mask, z, delta, estimator, output)

    if len(drawn[1]) == 1:  # a vmapped kernel would turn convolutions into grouped ones
        return add(sums, of_draw(jax.tree.map(lambda leaf: leaf[0], drawn)))
    return add(sums, jax.tree.map(lambda s: s.sum(0), jax.vmap(of_draw)(drawn)))


def _outputs(model, params, state, x, estimator):
    """The single outputs that ``"trace"`` goes through one by one; else all at once."""
    if estimator != "trace":
        return (None,)
    logits, _ = jax.eval_shape(functools.partial(model.apply, train=False), params, state, x[0])
    return tuple(jnp.arange(logits.shape[-1]))


@jax.jit
def _magnitude(sums, mask):
    """``|sums|``, and 0 at pruned weights."""
    return masks.apply(jax.tree.map(jnp.abs, sums), mask)
