"""All workflows, by the name that a config's class carries."""

from experiments.protocols import (
    estimators,
    imc,
    kernel_prediction,
    lottery,
    prune_and_train,
    random_pruning,
    segmentation,
    spectrum,
    three_regime,
    train,
    transfer,
)
from experiments.protocols.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    protocol.config.protocol: protocol
    for protocol in (
        random_pruning.PROTOCOL,
        prune_and_train.PROTOCOL,
        train.PROTOCOL,
        lottery.LOTTERY,
        lottery.LOTTERY_BRANCH,
        transfer.PROTOCOL,
        segmentation.PROTOCOL,
        estimators.PROTOCOL,
        kernel_prediction.PROTOCOL,
        three_regime.PROTOCOL,
        imc.PROTOCOL,
        spectrum.PROTOCOL,
    )
}
