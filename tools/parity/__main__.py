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
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import jax

from tools.parity import scores
from tools.parity.files import Arrays, Pairs, max_error, quantity_of, read
from tools.parity.three_regime import cka, hessian, lmc, masks, sam

TOLERANCE = 1e-6
KINDS = (scores, lmc, cka, masks, sam, hessian)


def compare(path: Path) -> float:
    """Print the file's lines; the largest error."""
    arrays, worst, names = read(str(path)), 0.0, []
    kind = kind_of(arrays)
    # Most of the time goes into compiling, which leaves other threads free.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for errors in pool.map(_errors, kind.jobs(arrays, path)):
            for name, error in errors.items():
                worst = max(worst, error)
                names.append(name)
                print(f"{path.name} {name} max_rel_err={error:.2e}", flush=True)
    if not names:
        raise ValueError("it holds nothing that can be compared")
    if unknown := _unknown(arrays, names, kind.INPUTS):
        print(f"{path.name} unknown: {', '.join(unknown)}")
    return worst


def kind_of(arrays: Arrays) -> ModuleType:
    """The module for the file. Raises ValueError for a file of an unknown kind."""
    for kind in KINDS:
        if kind.recognises(arrays):
            return kind
    names = ", ".join([*list(arrays)[:3], "..."])
    raise ValueError(f"not a reference file of a known kind: it holds {names}")


def _errors(job: Callable[[], dict[str, Pairs]]) -> dict[str, float]:
    """In float64 on the CPU, which jax is told in each thread."""
    with jax.enable_x64(True), jax.default_device(jax.devices("cpu")[0]):
        return {name: max_error(pairs) for name, pairs in job().items() if pairs}


def _unknown(arrays: Arrays, compared: list[str], inputs: re.Pattern) -> list[str]:
    """The quantities that nothing here computes; one may be an array for each layer."""
    quantities = {quantity_of(name): None for name in arrays if not inputs.fullmatch(name)}
    return [name for name in quantities if name not in compared]


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
        for path in map(Path, parser.parse_args(argv).files):
            try:
                worst = max(worst, compare(path))
            except (OSError, ValueError) as error:
                print(f"tools.parity: {path}: {error}", file=sys.stderr)
                return 2
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
