"""Protocols: ``(config, store) -> None``, by the name that a config's class carries."""

from collections.abc import Callable, Iterable

from experiments.protocols.estimators import estimators
from experiments.protocols.kernel_prediction import kernel_prediction
from experiments.protocols.lottery.branch_run import lottery_branch
from experiments.protocols.lottery.run import lottery
from experiments.protocols.prune_and_train.run import prune_and_train
from experiments.protocols.random_pruning.run import ntk_theory
from experiments.protocols.segmentation import segmentation
from experiments.protocols.spectrum import costs as spectrum_costs
from experiments.protocols.spectrum import spectrum
from experiments.protocols.train import train
from experiments.protocols.transfer import transfer

PROTOCOLS: dict[str, Callable[..., None]] = {
    "ntk_theory": ntk_theory,
    "prune_and_train": prune_and_train,
    "train": train,
    "lottery": lottery,
    "lottery_branch": lottery_branch,
    "transfer": transfer,
    "segmentation": segmentation,
    "estimators": estimators,
    "kernel_prediction": kernel_prediction,
    "spectrum": spectrum,
}

# What the kernels of a protocol will cost, one line each, for a dry run.
COSTS: dict[str, Callable[..., Iterable[str]]] = {
    "spectrum": spectrum_costs,
}
