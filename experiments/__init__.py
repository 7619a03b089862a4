"""The experiments, run as ``python -m experiments.run``."""

import sys

if sys.argv[0] == "-m" and "experiments.run" in sys.orig_argv:  # python is looking for the command
    from experiments import heap

    heap.keep()
