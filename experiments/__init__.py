"""Command lines, run directories, workflows and reports around ``ntk_prune``."""

import sys

if sys.platform == "win32":
    sys.exit("error: Windows is not supported, as run directories are locked by flock; use WSL")

if sys.argv[:1] == ["-m"]:  # as long as ``python -m experiments.run`` looks for its module
    from experiments import heap, signals

    if {"experiments.run", "experiments.together"} & set(sys.orig_argv):
        heap.keep()
    signals.end_at_once()
