"""Criteria that rank weights, and the loop that prunes by them.

Every criterion is a factory that returns a ``Pruner``; ``PRUNERS`` lists them by name.
"""

from collections.abc import Callable

from ntk_prune.pruners import controls
from ntk_prune.pruners.driver import PruneInfo, Round, prune
from ntk_prune.pruners.grasp import grasp
from ntk_prune.pruners.imc import imc
from ntk_prune.pruners.lamp import lamp
from ntk_prune.pruners.magnitude import magnitude
from ntk_prune.pruners.ntksap import ntksap
from ntk_prune.pruners.px import px
from ntk_prune.pruners.pxact import pxact
from ntk_prune.pruners.random import random
from ntk_prune.pruners.snip import itersnip, snip
from ntk_prune.pruners.synflow import synflow
from ntk_prune.pruners.synflow_l2 import synflow_l2
from ntk_prune.types import Pruner

PRUNERS: dict[str, Callable[..., Pruner]] = {
    "random": random,
    "magnitude": magnitude,
    "lamp": lamp,
    "snip": snip,
    "itersnip": itersnip,
    "grasp": grasp,
    "synflow": synflow,
    "ntksap": ntksap,
    "px": px,
    "pxact": pxact,
    "synflow_l2": synflow_l2,
    "imc": imc,
}

# The criteria themselves are public by ``PRUNERS``.
__all__ = ["PRUNERS", "PruneInfo", "Round", "controls", "prune"]
