"""Regimes and procedures of a finished grid: ``python -m experiments.regimes RUN``.

Prints the regime of every cell and what the reconstructed procedures cost beside one fixed
temperature, by the thresholds of the run or by others. Nothing is trained and nothing is written.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from experiments.commands import command
from experiments.errors import UserError, user_errors
from experiments.presentation import as_text
from experiments.protocols.three_regime import tables
from experiments.protocols.three_regime.config import RegimeConfig, ThreeRegime
from experiments.runs.reading import read_json


@command
def main(argv: list[str]) -> int:
    """Read, classify, print. Returns the exit status."""
    arguments = _parser().parse_args(argv)
    results = load(arguments.run)
    thresholds = _thresholds(arguments, results)
    print("\n\n".join(as_text(table) for table in tables.overview(results, **thresholds)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.regimes",
        description="Regimes and procedures of a finished grid of temperature and density.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run of three_regime")
    for name, meaning in (
        ("connectivity", "a cell is connected where LMC is above minus this"),
        ("similarity", "a connected cell is similar from this CKA up"),
        ("dead", "a cell is dead above this share of the error of guessing"),
    ):
        parser.add_argument(f"--{name}", type=float, metavar="X",
                            help=f"{meaning}; default: as the run has it")  # fmt: skip
    return parser


def load(path: Path) -> dict[str, Any]:
    """The results of a finished grid. UserError where there is none."""
    config = read_json(path / "config.json")
    if config is None or config.get("protocol") != ThreeRegime.protocol:
        raise UserError(f"there is no run of {ThreeRegime.protocol} in {path}")
    results = read_json(path / "results.json")
    if results is None or not (path / "DONE").exists():
        raise UserError(f"{path} is unfinished; run it to its end first")
    return results


def _thresholds(arguments: argparse.Namespace, results: dict[str, Any]) -> dict[str, Any]:
    """The thresholds of the run with those that were given. UserError for one that cannot be."""
    names = ("connectivity", "similarity", "dead")
    given = {name: getattr(arguments, name) for name in names}
    chosen = results["regimes"] | {k: v for k, v in given.items() if v is not None}
    with user_errors("thresholds"):
        RegimeConfig(**chosen)
    return chosen


if __name__ == "__main__":
    sys.exit(main())
