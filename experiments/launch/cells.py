"""The cells of a sweep as runs: config, directory and command of each, checked beforehand."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.config import Experiment, loading
from experiments.errors import UserError
from experiments.launch.grid import Sweep
from experiments.runs.labels import differing

ROOT = Path("runs")
"""Where ``experiments.run`` puts its directories."""


class Cell(NamedTuple):
    """One run of a sweep.

    ``number`` counts from 1. ``label`` says what is not the same in all cells, ``group`` the same
    without the seed. ``words`` are what follows ``python`` in the command that makes the run;
    ``key`` is the run directory below the root.
    """

    number: int
    label: str
    group: str
    config: Experiment
    source: str
    workdir: Path
    key: str
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command that makes this run alone."""
        return shlex.join(("python", *self.words))


def load(source: str) -> Sweep:
    """The sweep of ``FILE.py[:preset]``; a bare name is a file in ``sweeps/``.

    UserError says what is wrong with it.
    """
    sweep = loading.call(source, "sweep")
    if not isinstance(sweep, Sweep):
        raise UserError(f"{source}: get_sweep() returned no Sweep but {sweep!r}")
    if not sweep.cells:
        raise UserError(f"{source}: the sweep has no cells")
    return sweep


def resolve(sweep: Sweep, common: Mapping[str, str], root: Path = ROOT) -> list[Cell]:
    """All cells, in their order.

    Args:
        sweep: The cells.
        common: Fields of all cells, as texts.
        root: The directory that holds the run directories.

    UserError has a line for every cell that is refused: an unknown field, a bad value, a field
    that is in ``common`` too, or the run of an earlier cell. What is wrong with several in the
    same way is one line with their number.
    """
    texts = [{"config": sweep.config, **{k: text(v) for k, v in c.items()}} for c in sweep.cells]
    shown = differing(texts) or [name for name in texts[0] if name != "config"]
    cells, errors = [], {}
    for number, fields in enumerate(texts, 1):
        try:
            cells.append(_cell(number, fields, shown, common, root))
        except UserError as error:
            first = f"cell {number} ({_label(fields, shown)})"
            errors.setdefault(str(error), []).append(first)
    lines = [_refusal(names, error, len(texts)) for error, names in errors.items()]
    if lines := lines + _duplicates(cells):
        raise UserError("\n".join(lines))
    return cells


def _refusal(names: Sequence[str], error: str, count: int) -> str:
    """The line of a mistake, with the cells that make it."""
    if len(names) == 1:
        return f"{names[0]}: {error}"
    of = "all" if len(names) == count else f"{len(names)} of"
    return f"{of} {count} cells, first {names[0]}: {error}"


def text(value: Any) -> str:
    """A value as ``--config.FIELD=VALUE`` takes it.

    >>> text(0.1), text(None), text((0.5, 1)), text("160ep")
    ('0.1', 'None', '0.5,1', '160ep')
    """
    return ",".join(map(text, value)) if isinstance(value, list | tuple) else str(value)


def _cell(
    number: int, fields: dict[str, str], shown: Sequence[str], common: Mapping[str, str], root: Path
) -> Cell:
    source = fields["config"]
    own = {name: value for name, value in fields.items() if name != "config"}
    if twice := sorted(own.keys() & common.keys()):
        raise UserError(f"--config.{twice[0]} is set by the sweep")
    updates = {**common, **own}
    config = loading.override(loading.load(source), updates)
    workdir = loading.default_workdir(config, source, root)
    flags = [f"--config.{name}={value}" for name, value in updates.items()]
    flags += [] if root == ROOT else ["--workdir", str(workdir)]
    return Cell(
        number=number,
        label=_label(fields, shown),
        group=_label(fields, [name for name in shown if name != "seed"]),
        config=config,
        source=source,
        workdir=workdir,
        key=workdir.relative_to(root).as_posix(),
        words=("-m", "experiments.run", "--config", source, *flags),
    )


def _label(fields: Mapping[str, str], shown: Sequence[str]) -> str:
    return " ".join(f"{name}={fields[name]}" for name in shown if name in fields)


def _duplicates(cells: Sequence[Cell]) -> list[str]:
    """A line for every cell whose run is that of an earlier one."""
    first: dict[Path, Cell] = {}
    lines = []
    for cell in cells:
        earlier = first.setdefault(cell.workdir, cell)
        if earlier is not cell:
            lines.append(
                f"cell {cell.number} ({cell.label}): the same run as cell {earlier.number}, "
                f"{cell.workdir}"
            )
    return lines


def shard(cells: Sequence[Cell], index: int, count: int) -> list[Cell]:
    """Every ``count``-th cell from number ``index`` on, so that shards 1 to ``count`` are a
    partition."""
    return list(cells[index - 1 :: count])
