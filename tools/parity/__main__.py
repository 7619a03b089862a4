"""This project against reference files: ``python -m tools.parity FILE.npz ...``.

A file holds weights, inputs, masks and random draws under PyTorch names and layouts, and what
published implementations computed from them in float64. A line per quantity,

    <file> <quantity> max_rel_err=<x>

where ``x`` is the largest error relative to the largest entry of its array (of a layer, where there
is one array per layer); integers and booleans have to be equal, their error is the largest
difference. Runs in float64 on the CPU. Exit status: 1 if an error exceeds 1e-6, 2 if a file cannot
be read.
"""

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax

from tools.parity import scores
from tools.parity.files import Arrays, Pairs, Quantities, max_error, read

TOLERANCE = 1e-6
KINDS = (scores,)


def quantities(arrays: Arrays) -> Quantities:
    """What the file holds, by the module for its kind. Raises ValueError for an unknown kind."""
    for kind in KINDS:
        if kind.recognises(arrays):
            return kind.quantities(arrays)
    names = ", ".join(list(arrays)[:3]) or "nothing"
    raise ValueError(f"not a reference file of a known kind: it holds {names}, ...")


def compare(path: str) -> float:
    """Print the file's lines; the largest error."""
    worst, unknown, known = 0.0, [], {}
    for name, compute in quantities(read(path)).items():
        if compute is None:
            unknown.append(name)
        else:
            known[name] = compute
    # Most of the time goes into compiling, which leaves other threads free.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, error in zip(known, pool.map(_error, known.values()), strict=True):
            worst = max(worst, error)
            print(f"{Path(path).name} {name} max_rel_err={error:.2e}", flush=True)
    if unknown:
        print(f"{Path(path).name} unknown: {', '.join(unknown)}")
    return worst


def _error(compute: Callable[[], Pairs]) -> float:
    """In float64 on the CPU, which jax knows for each thread."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        return max_error(compute())


def main(argv: list[str] | None = None) -> int:
    """Compare the files given on the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE.npz")
    worst = 0.0
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        for path in parser.parse_args(argv).files:
            try:
                worst = max(worst, compare(path))
            except (OSError, ValueError) as error:
                print(f"tools.parity: {path}: {error}", file=sys.stderr)
                return 2
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
