"""All workflows, by the name that a config's class carries."""

from experiments.protocols.estimators import Estimators, estimators
from experiments.protocols.kernel_prediction import KernelPrediction, kernel_prediction
from experiments.protocols.lottery import show_levels
from experiments.protocols.lottery.branch_config import LotteryBranch
from experiments.protocols.lottery.branch_run import lottery_branch
from experiments.protocols.lottery.config import Lottery
from experiments.protocols.lottery.run import lottery
from experiments.protocols.protocol import Protocol
from experiments.protocols.prune_and_train import show_trained
from experiments.protocols.prune_and_train.config import PruneAndTrain
from experiments.protocols.prune_and_train.run import prune_and_train
from experiments.protocols.random_pruning.config import RandomPruning
from experiments.protocols.random_pruning.run import ntk_theory
from experiments.protocols.segmentation.run import Segmentation, segmentation
from experiments.protocols.spectrum import Spectrum, costs, spectrum
from experiments.protocols.three_regime import show_grids
from experiments.protocols.three_regime.config import ThreeRegime
from experiments.protocols.three_regime.run import three_regime
from experiments.protocols.train import Train, train
from experiments.protocols.transfer import Transfer, transfer

PROTOCOLS: dict[str, Protocol] = {
    "ntk_theory": Protocol(RandomPruning, ntk_theory),
    "prune_and_train": Protocol(PruneAndTrain, prune_and_train, figures=show_trained),
    "train": Protocol(Train, train),
    "lottery": Protocol(Lottery, lottery, figures=show_levels),
    "lottery_branch": Protocol(LotteryBranch, lottery_branch, figures=show_levels),
    "transfer": Protocol(Transfer, transfer, figures=show_trained),
    "segmentation": Protocol(Segmentation, segmentation, figures=show_trained),
    "estimators": Protocol(Estimators, estimators),
    "kernel_prediction": Protocol(KernelPrediction, kernel_prediction),
    "three_regime": Protocol(ThreeRegime, three_regime, figures=show_grids),
    "spectrum": Protocol(Spectrum, spectrum, costs),
}
