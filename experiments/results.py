"""Configs and final numbers of many runs: ``python -m experiments.results DIR...``.

    python -m experiments.results runs --where prune.name=snip 'density<0.1' --sort test/accuracy
    python -m experiments.results runs --compare prune.name

The runs are read once; an index beside them makes every later call fast (docs/results.md).
"""

import argparse
import signal
import sys
from pathlib import Path

import pandas as pd

from experiments.commands import command
from experiments.errors import UserError
from experiments.presentation import as_text
from experiments.runs import Row, comparing, listing, rows, selecting


@command
def main(argv: list[str]) -> int:
    """Read, select, print. Returns the exit status."""
    arguments = _parser().parse_args(argv)
    everything = rows(arguments.directories)
    selected = selecting.select(everything, arguments.where)
    if not selected:
        raise UserError(f"none of {len(everything)} runs fulfils --where")
    print(_text(arguments, selected))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.results",
        description="Configs and final numbers of runs. A FIELD is a dotted name of a config or of "
        "the final numbers, or a last part of one that no other has.",
    )
    parser.add_argument(
        "directories", nargs="+", type=Path, metavar="DIR", help="runs, or parents of runs"
    )
    parser.add_argument(
        "--where", nargs="+", action="extend", default=[], metavar="FIELD=VALUE",
        help="only these runs; also != < <= > >=, in quotes",
    )  # fmt: skip
    parser.add_argument("--columns", nargs="+", metavar="FIELD", help="what the table shows")
    parser.add_argument("--sort", metavar="FIELD", help="order of the runs; default: their paths")
    parser.add_argument("--csv", action="store_true", help="every field, or --columns, as CSV")
    parser.add_argument(
        "--compare", metavar="FIELD", help="its values against each other, on the same seeds"
    )
    parser.add_argument(
        "--measure", default="test/accuracy", metavar="FIELD", help="by what; default: %(default)s"
    )
    return parser


def _text(arguments: argparse.Namespace, selected: list[Row]) -> str:
    if arguments.compare:
        field, measure = (
            selecting.full_name(name, selected) for name in (arguments.compare, arguments.measure)
        )
        tables = comparing.by_field(selected, field, measure)
        return "\n\n".join([*map(as_text, tables), comparing.EXPLANATION])
    if arguments.sort:
        selected = selecting.ordered(selected, selecting.full_name(arguments.sort, selected))
    columns = [selecting.full_name(name, selected) for name in arguments.columns or ()]
    if arguments.csv:
        return _csv(selected, columns)
    columns = columns or listing.columns_of(selected)
    return f"{as_text(listing.table(selected, columns))}\n\n{listing.constants(selected, columns)}"


def _csv(selected: list[Row], columns: list[str]) -> str:
    frame = pd.DataFrame([row.fields for row in selected])
    return frame[columns or list(frame.columns)].to_csv(index=False).removesuffix("\n")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as ``| head`` expects it
    sys.exit(main())
