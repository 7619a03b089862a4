"""Make the report: ``python -m experiments.report RUN_DIR... [--out DIR]``."""

import argparse
import sys
from pathlib import Path

from experiments.errors import UserError


def main(argv: list[str] | None = None) -> int:
    """Find the runs, write the page, print where it is. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description="Tables and figures of finished runs as one HTML page.",
    )
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="RUN_DIR", help="runs, or parents of runs"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN_DIR/report")
    arguments = parser.parse_args(argv)
    out = arguments.out or arguments.directories[0] / "report"
    try:
        print(_report(arguments.directories, out))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _report(directories: list[Path], out: Path) -> Path:
    try:
        from experiments.report import page, runs
    except ImportError as error:
        raise UserError(f"{error}; the report needs pandas, matplotlib, jinja2 and scipy") from None
    found = runs.find(directories)
    try:
        return page.write(found, out)
    except OSError as error:
        raise UserError(f"cannot write the report to {out}: {error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
