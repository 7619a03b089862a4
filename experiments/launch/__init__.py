"""Many runs from one file: cells, and the processes that run them here, on hosts or by Slurm."""

from experiments.launch.grid import Sweep, axis, product, zipped

__all__ = ["Sweep", "axis", "product", "zipped"]
