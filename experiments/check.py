"""Finished runs against what their configs expect: ``python -m experiments.check RUN...``.

Prints a line per run and expected number: pass, fail, digitised (which is neither) or not
comparable, and why. Exit status 1 where one fails.
"""

import argparse
import sys
from pathlib import Path

from experiments.commands import command
from experiments.runs import checking, rows

CONFIGS = Path("configs")


@command
def main(argv: list[str]) -> int:
    """Read, compare, print. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.check",
        description="Compare finished runs with the numbers that their configs expect.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="runs, or parents of runs"
    )
    arguments = parser.parse_args(argv)
    verdicts = checking.verdicts(rows(arguments.runs), checking.expectations(CONFIGS))
    for verdict in verdicts:
        print(f"{verdict.path}: {verdict.word}: {verdict.why}")
    return int(any(verdict.word == checking.FAIL for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
