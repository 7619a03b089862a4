"""The neural tangent kernel of pruned networks: scores, masks, kernels, masked training.

What most programs need is here; everything else is in the modules listed in ``__all__``. Names are
imported when they are first used: ``import ntk_prune`` alone loads nothing, not even JAX.

>>> import ntk_prune
>>> sorted(ntk_prune.PRUNERS)[:3]
['grasp', 'imc', 'itersnip']
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntk_prune import (
        checkpoint,
        data,
        inertial,
        interop,
        landscape,
        linalg,
        losses,
        lottery,
        masks,
        models,
        ntk,
        pruners,
        rng,
        schedules,
        training,
        types,
    )
    from ntk_prune.landscape import MaskedLoss
    from ntk_prune.models import MODELS
    from ntk_prune.ntk import empirical_ntk, estimate_cost, ntk_operator
    from ntk_prune.pruners import PRUNERS, prune
    from ntk_prune.types import Batch, Model, Pruner

__version__ = "0.1.0"

__all__ = [
    "MODELS",
    "PRUNERS",
    "Batch",
    "MaskedLoss",
    "Model",
    "Pruner",
    "checkpoint",
    "data",
    "empirical_ntk",
    "estimate_cost",
    "inertial",
    "interop",
    "landscape",
    "linalg",
    "losses",
    "lottery",
    "masks",
    "models",
    "ntk",
    "ntk_operator",
    "prune",
    "pruners",
    "rng",
    "schedules",
    "training",
    "types",
]

_HOMES = {
    "MODELS": "models",
    "PRUNERS": "pruners",
    "Batch": "types",
    "MaskedLoss": "landscape",
    "Model": "types",
    "Pruner": "types",
    "empirical_ntk": "ntk",
    "estimate_cost": "ntk",
    "ntk_operator": "ntk",
    "prune": "pruners",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
