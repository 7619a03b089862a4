"""Fine-tune a pruned pretrained network under a ridge-regression head that stays fixed.

The head is fitted to the one-hot labels on the pretrained features before pruning, so that every
criterion sees it; training then moves the features only.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from experiments import factories
from experiments.config.options import require
from experiments.errors import UserError
from experiments.protocols.protocol import Protocol
from experiments.protocols.prune_and_train import costs, show_trained
from experiments.protocols.prune_and_train.config import PruneAndTrain
from experiments.protocols.prune_and_train.run import (
    draw_figures,
    finish,
    initialise,
    make_setup,
    run_stages,
)
from experiments.store import Store
from ntk_prune.types import Array, Params, State


@dataclasses.dataclass(frozen=True)
class Transfer(PruneAndTrain):
    """Prune and fine-tune a pretrained network under a ridge-regression head that stays fixed."""

    protocol: ClassVar = "transfer"

    ridge: float = 1.0
    """Weight of the squared norm of the head in its least-squares fit to the one-hot labels."""

    def __post_init__(self):
        super().__post_init__()
        require(self.ridge > 0, "ridge", self.ridge, "more than 0")
        require(self.prune.control != "reinit", "prune.control", self.prune.control,
                 "another: a head fitted to these weights stays")  # fmt: skip


HEAD = "fc"


def transfer(config: Transfer, store: Store) -> None:
    """Run the protocol in ``store``, from where an earlier, killed run stopped."""
    setup = make_setup(with_fixed_head(config))
    params, state = initialise(config, setup.recipe)
    if HEAD not in params:
        raise UserError(f"model: {config.model.name} has no linear head {HEAD!r} to be fitted")
    with store.claimed():
        params = {**params, HEAD: ridge_head(config, setup.recipe, params, state)}
        numbers = run_stages(with_fixed_head(config), setup, store, params, state)
        draw_figures(store)
        finish(store, numbers)


def with_fixed_head(config: Transfer) -> Transfer:
    """The config whose training leaves the head alone."""
    rates = tuple(dict.fromkeys((*config.train.module_rates, f"{HEAD}=0")))
    return dataclasses.replace(config, train=dataclasses.replace(config.train, module_rates=rates))


def ridge_head(config: Transfer, recipe: factories.Recipe, params: Params, state: State) -> Params:
    """``argmin sum_i |W z_i + b - onehot(y_i)|^2 + ridge |W|^2`` over the training set."""
    from sklearn.linear_model import Ridge  # slow to import

    z, y = features(config, recipe, params, state)
    targets = np.eye(recipe.dataset.num_classes)[y]
    fitted = Ridge(alpha=config.ridge).fit(z, targets)
    return {
        "kernel": jnp.asarray(fitted.coef_.T, jnp.float32),
        "bias": jnp.asarray(fitted.intercept_, jnp.float32),
    }


def features(
    config: Transfer, recipe: factories.Recipe, params: Params, state: State
) -> tuple[np.ndarray, np.ndarray]:
    """What the head sees of every training image, ``[n, d]``, and the labels ``[n]``.

    Read through the same network with a head of ``d`` outputs that is the identity.
    """
    dim = params[HEAD]["kernel"].shape[0]
    model = config.model.make(num_classes=dim)
    identity = {"kernel": jnp.eye(dim), "bias": jnp.zeros(dim)}
    to_inputs = factories.inputs(config.data, recipe.dataset)

    @jax.jit
    def read(x: Array) -> Array:
        return model.apply({**params, HEAD: identity}, state, to_inputs(x), train=False)[0]

    n, size = recipe.dataset.num_train, config.train.eval_batch_size
    parts = [recipe.dataset.examples(np.arange(i, min(i + size, n))) for i in range(0, n, size)]
    z = np.concatenate([np.asarray(read(jnp.asarray(x))) for x, _ in parts])
    return z, np.concatenate([y for _, y in parts])


PROTOCOL = Protocol(Transfer, transfer, costs, show_trained)
