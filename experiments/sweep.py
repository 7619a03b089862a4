"""Many runs from one file: ``python -m experiments.sweep sweeps/ntksap_fig1_cifar10.py --run``.

Without a verb the cells are listed. A cell is the run that its own command makes, in the same
directory, so finished runs are not redone and a killed sweep goes on with the same command.
"""

import argparse
import collections
import re
import sys
from collections.abc import Mapping, Sequence

from experiments.commands import command
from experiments.config.loading import file_name
from experiments.errors import UserError, expanded
from experiments.launch import cells as grid
from experiments.launch import local, slurm, summary
from experiments.launch.cells import Cell
from experiments.launch.costs import estimate
from experiments.launch.measuring import measured
from experiments.launch.slots import slots
from experiments.launch.states import Ledger
from experiments.presentation import as_text


@command
def main(argv: list[str]) -> int:
    """Parse and do what is asked. Returns the exit status: 0 where all cells that were to be run
    are finished, 1 otherwise."""
    return _sweep(*parse(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.sweep",
        description="List the cells of a sweep, run them, or say what became of them.",
        epilog="--config.FIELD=VALUE sets a field of all cells.",
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE[:preset]", help="a file in sweeps/")
    parser.add_argument("--root", default=str(grid.ROOT), metavar="DIR",
                        help="where the run directories lie; default: runs")  # fmt: skip
    verbs = parser.add_mutually_exclusive_group()
    for name, meaning in (
        ("run", "run all unfinished cells on this machine, and wait for those run elsewhere"),
        ("worker", "run cells that no other process works on until none is left"),
        ("status", "count finished, running, failed and waiting cells; list the failed ones"),
        ("measure", "time a few steps of every kind of training here: what the cells left take"),
        ("summary", "means of the final numbers over seeds, with Student-t 95 %% half widths"),
    ):
        verbs.add_argument(f"--{name}", action="store_true", help=meaning)
    verbs.add_argument(
        "--slurm", nargs="*", metavar="KEY=VALUE",
        help="submit the waiting cells as one array job, with these options of sbatch",
    )  # fmt: skip
    parser.add_argument("--pack", type=_positive, default=1, metavar="N",
                        help="cells of one task of the array job; default: 1")  # fmt: skip
    parser.add_argument("--at_once", type=_positive, default=1, metavar="N",
                        help="cells that differ in seed and prune alone, trained as one program; "
                        "default: 1")  # fmt: skip
    parser.add_argument("--retry", action="store_true",
                        help="forget recorded failures, then run, or --slurm")  # fmt: skip
    parser.add_argument("--workers", type=_positive, metavar="N",
                        help="cells at a time; default: one a GPU, or one")  # fmt: skip
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N",
                        help="only cells I, I + N, I + 2N and so on")  # fmt: skip
    parser.add_argument("--commands", action="store_true", help="list the commands of the cells")
    parser.add_argument("--csv", action="store_true", help="print the summary as CSV")
    return parser


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """The arguments, and the fields of all cells. UserError for a flag that does not exist."""
    arguments, rest = _parser().parse_known_args(argv)
    common = {}
    for word in rest:
        flag = re.fullmatch(r"--config\.([^=]+)=(.*)", word, re.DOTALL)
        if flag is None:
            raise UserError(
                f"there is no {word}; see --help (fields are set as --config.FIELD=VALUE)"
            )
        if flag[1] in common:
            raise UserError(f"--config.{flag[1]} is given twice")
        common[flag[1]] = flag[2]
    return arguments, common


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _shard(text: str) -> tuple[int, int]:
    """``2/3`` -> (2, 3)."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text} is not I/N with I from 1 to N")
    return int(match[1]), int(match[2])


def _sweep(arguments: argparse.Namespace, common: Mapping[str, str]) -> int:
    root = expanded(arguments.root, "--root")
    all_cells = grid.resolve(grid.load(arguments.file), common, root)
    cells = grid.shard(all_cells, *arguments.shard)
    ledger = Ledger(root / "sweeps" / file_name(arguments.file))
    says = arguments.status or arguments.summary or arguments.measure
    if arguments.retry:
        if says:
            raise UserError("--retry runs cells: it goes with --run, --worker or --slurm, or alone")
        for cell in cells:
            ledger.forget_failure(cell)
    if arguments.slurm is not None:
        options = _options(arguments.slurm)
        job = slurm.submit(cells, ledger, arguments.pack, arguments.at_once, options)
        print(f"job {job} of Slurm; --status says what became of its cells")
        return 0
    machine = slots(arguments.workers)
    if arguments.run or arguments.worker or arguments.retry:
        local.run(cells, ledger, machine, wait=not arguments.worker, at_once=arguments.at_once,
                  show=_print)  # fmt: skip
        return _report(cells, ledger)
    if arguments.summary:
        groups = summary.summarise(cells)
        print(summary.as_csv(groups) if arguments.csv else as_text(summary.as_table(groups)))
    elif arguments.measure:
        left = [cell for cell in cells if ledger.state(cell)[0] != "finished"]
        for line in measured(left, len(machine)):
            _print(line)
    else:
        if not arguments.status:
            _list(cells, ledger, arguments.commands)
        _report(cells, ledger)
        for line in filter(None, (slurm.queued(ledger), estimate(cells, ledger, len(machine)))):
            print(line)
    return 0


def _options(words: Sequence[str]) -> dict[str, str]:
    """``partition=main`` -> {"partition": "main"}. UserError for a word without a value."""
    if wrong := [word for word in words if "=" not in word]:
        raise UserError(f"--slurm: {wrong[0]!r} is not KEY=VALUE")
    return dict(word.split("=", 1) for word in words)


def _print(line: str) -> None:
    print(line, flush=True)


def _list(cells: Sequence[Cell], ledger: Ledger, commands: bool) -> None:
    """A line for each cell."""
    for cell in cells:
        name = cell.command if commands else f"{cell.label}  {cell.workdir}"
        print(f"{cell.number:>{len(str(cells[-1].number))}}  {ledger.state(cell)[0]:8}  {name}")


def _report(cells: Sequence[Cell], ledger: Ledger) -> int:
    """Print the counts and the failed cells. Returns 0 if all cells are finished, else 1."""
    counts: collections.Counter[str] = collections.Counter()
    for cell in cells:
        state, error = ledger.state(cell)
        counts[state] += 1
        if state == "failed":
            print(f"failed: cell {cell.number} ({cell.label}): {error}; log: {ledger.log(cell)}")
    names = ("finished", "running", "failed", "waiting")
    print(f"{len(cells)} cells: " + ", ".join(f"{counts[name]} {name}" for name in names))
    return 0 if counts["finished"] == len(cells) else 1


if __name__ == "__main__":
    sys.exit(main())
