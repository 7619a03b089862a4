"""Make the report: ``python -m experiments.report RUN_DIR... [--reference NAME...]``."""

import argparse
import sys
from pathlib import Path

from experiments import references
from experiments.commands import command
from experiments.errors import UserError, expanded
from experiments.references import Reference


@command
def main(argv: list[str]) -> int:
    """Find the runs, write the page, print where it is. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description="Tables and figures of finished runs as one HTML page.",
    )
    parser.add_argument(
        "directories", nargs="*", type=Path, metavar="RUN_DIR", help="runs, or parents of runs"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN_DIR/report")
    parser.add_argument(
        "--reference", nargs="+", default=[], metavar="NAME",
        help="published curves to lay under the accuracies; 'list' shows their names",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    if arguments.reference == ["list"]:
        print(references.describe())
        return 0
    if not arguments.directories:
        raise UserError("no run directories given; see --help")
    out = expanded(arguments.out or arguments.directories[0] / "report", "--out")
    print(_report(arguments.directories, out, references.load(arguments.reference)))
    return 0


def _report(directories: list[Path], out: Path, published: list[Reference]) -> Path:
    try:
        from experiments import runs
        from experiments.report import page
    except ImportError as error:
        raise UserError(f"{error}; the report needs pandas, matplotlib, jinja2 and scipy") from None
    selected = runs.find(directories)
    try:
        return page.write(selected, out, published)
    except OSError as error:
        raise UserError(f"cannot write the report to {out}: {error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
