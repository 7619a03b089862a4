"""Random pruning: the baseline every criterion has to beat.

Differs: published codes draw normal scores; only their ranking matters, which is the same.
"""

import jax

from ntk_prune import masks
from ntk_prune.pruners.common import Scope, criterion, make_pruner
from ntk_prune.types import Pruner


@criterion
def random(scope: Scope = "global", exclude: tuple[str, ...] = ()) -> Pruner:
    """Independent uniform scores on [0, 1).

    Args:
        scope: global removes weights anywhere with equal probability; layer gives every layer the
            same density (uniform rounds as PyTorch does, uniform_plus spares the ends); erk follows
            Erdos-Renyi-Kernel, density_l ~ sum(shape_l) / prod(shape_l) (Evci et al., arXiv
            1911.11134), erk_rounded with each layer rounded by itself.
    """

    def score(key, model, params, state, mask, batches):
        del model, state, mask, batches
        leaves, treedef = jax.tree.flatten(params)
        keys = jax.random.split(key, len(leaves))
        drawn = [jax.random.uniform(k, p.shape, p.dtype) for k, p in zip(keys, leaves, strict=True)]
        return masks.only_prunable(jax.tree.unflatten(treedef, drawn))

    return make_pruner(score, scope=scope, exclude=exclude, reads="nothing")
