"""Random pruning against theory; on disk and on the command line ``ntk_theory``."""

from experiments.protocols.protocol import Protocol
from experiments.protocols.random_pruning.config import RandomPruning
from experiments.protocols.random_pruning.run import costs, ntk_theory

PROTOCOL = Protocol(RandomPruning, ntk_theory, costs)
