"""Prune and train networks that label every pixel."""

from experiments.protocols.protocol import Protocol
from experiments.protocols.prune_and_train import show_trained
from experiments.protocols.segmentation.run import Segmentation, segmentation

PROTOCOL = Protocol(Segmentation, segmentation, figures=show_trained)
