"""Steps of SAM and SGD: ``<case>/step<s>/...`` from the network ``init``, batch after batch."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

from ntk_prune import training
from ntk_prune.landscape import MaskedLoss
from ntk_prune.landscape.connectivity import Network
from ntk_prune.training import TrainState
from ntk_prune.types import Array, Batch
from tools.parity.files import Arrays, Jobs, Pairs
from tools.parity.three_regime.networks import PreResNets, in_batches

INPUTS = re.compile(
    r"init(_orig)?/.*|mask/.*|cases|seed|depth|width_k|channel_\w+|images_8x8|labels|batch"
    r"|lr|momentum|weight_decay"
)


def recognises(arrays: Arrays) -> bool:
    """Whether the file holds steps of an optimiser."""
    return "cases" in arrays


def jobs(arrays: Arrays, path: Path) -> Jobs:
    """The gradient, and one for each case."""
    del path
    file = PreResNets(arrays)
    cases = map(str, arrays["cases"])
    return [
        functools.partial(first_gradient, file),
        *(functools.partial(steps, file, case) for case in cases),
    ]


def first_gradient(file: PreResNets) -> dict[str, Pairs]:
    """The gradient of the first batch at the start, zero at pruned weights."""
    loss = _loss(file, file.network("init"), *next(_examples(file)))
    _, gradient = loss.value_and_gradient()
    return {"grad0": file.pairs("grad0", loss.coordinates.tree(gradient))}


def steps(file: PreResNets, case: str) -> dict[str, Pairs]:
    """Parameters, running statistics and momentum after each step, loss and gradient before it."""
    rho, adaptive = strength(case)
    lr, momentum, decay = (float(file.arrays[k]) for k in ("lr", "momentum", "weight_decay"))
    optimizer = training.sgd(lr, momentum, weight_decay=decay)
    step = training.make_train_step(
        file.model, optimizer, _unchanged, sam_rho=rho, sam_adaptive=adaptive
    )
    step = jax.jit(step, static_argnums=2)
    state, named = training.create(*file.network("init"), file.mask(), optimizer), {}
    for s, (x, y) in enumerate(_examples(file), 1):
        _, gradient = _loss(file, (state.params, state.model_state), x, y).value_and_gradient()
        examples = training.Examples(x, y, jnp.arange(len(x)), jax.random.key(0))
        state, metrics = step(state, examples, None)
        ours = {"loss": metrics["loss"], "grad_norm": jnp.linalg.norm(gradient)}
        prefix = f"{case}/step{s}"
        named |= file.arrays.beside(ours, prefix) | _after(file, prefix, state)
    return named


def strength(case: str) -> tuple[float, bool]:
    """``rho`` and whether it is adaptive: ``asam0.5`` is ``(0.5, True)``, ``sgd`` ``(0, False)``.

    >>> strength("asam0.5"), strength("sgd")
    ((0.5, True), (0.0, False))
    """
    match = re.fullmatch(r"(a?)sam([\d.]+)|sgd", case)
    if match is None:
        raise ValueError(f"unknown case {case!r}: neither sam<rho>, asam<rho> nor sgd")
    return float(match[2] or 0), bool(match[1])


def _unchanged(key, step, index, x):
    del key, step, index
    return x


def _examples(file: PreResNets) -> Iterator[tuple[Array, Array]]:
    size = int(file.arrays["batch"])
    labels = jnp.asarray(file.arrays["labels"])
    return zip(in_batches(file.images(), size), in_batches(labels, size), strict=True)


def _loss(file: PreResNets, network: Network, x: Array, y: Array) -> MaskedLoss:
    batches = Batch(x[None], y[None])
    return MaskedLoss(file.model, *network, file.mask(), batches, batch_norm="batch")


def _after(file: PreResNets, prefix: str, state: TrainState) -> dict[str, Pairs]:
    """There, pruned weights and their momenta live on behind the mask; here they are zero."""
    momentum = optax.tree_utils.tree_get(state.opt_state, "trace")
    return {
        prefix: file.pairs(prefix, state.params, state.model_state),
        f"{prefix}/momentum": file.pairs(f"{prefix}/momentum", momentum, masked=True),
        f"{prefix}/orig": file.pairs(f"{prefix}/orig", state.params, masked=True),
    }
