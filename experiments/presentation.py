"""What a workflow shows of its runs in the report: sections of tables, and figures.

The report lays it out; nothing here knows HTML, and tables are texts.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTHING = "\N{EN DASH}"
"""What a cell without a number says."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Column heads and rows of texts. ``numbers`` are the indices of right-aligned columns.

    A table with a ``title`` is folded under it, a ``warning`` stands beside the title, a ``note``
    above the heads.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    title: str = ""
    warning: str = ""
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A headed part of the page; ``short`` is its title in the navigation."""

    title: str
    tables: Sequence[Table] = ()
    text: str = ""
    short: str = ""

    @property
    def link(self) -> str:
        """What the navigation says."""
        return self.short or self.title

    @property
    def anchor(self) -> str:
        """Where the navigation leads."""
        return self.link.lower().replace(" ", "_")


@dataclasses.dataclass(frozen=True)
class NamedFigure:
    """A figure, the name of its files without a suffix, and its caption."""

    name: str
    caption: str
    figure: "Figure"


@dataclasses.dataclass(frozen=True)
class Presentation:
    """``results`` come before the figures of all workflows, ``details`` after them.

    ``counts`` says how many runs there are, as ``3 runs, 2 finished``, where the tables list every
    run. Where it is empty, the page shows each run by itself, with the pictures in its directory.
    ``published`` are the names of the published curves that lie under its figures.
    """

    results: Sequence[Section] = ()
    figures: Iterable[NamedFigure] = ()
    details: Sequence[Section] = ()
    counts: str = ""
    published: Sequence[str] = ()


def as_text(table: Table) -> str:
    """A table for a terminal, in columns of one width."""
    lines = [list(table.heads), *(list(row) for row in table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.heads))]
    aligned = [
        "  ".join(
            cell.rjust(w) if i in table.numbers else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*(text for text in (table.title, table.note) if text), *aligned])


def per_cent(share: float | None) -> str:
    """A share in per cent; a dash where there is no number.

    >>> per_cent(0.107374), per_cent(0.0005)
    ('10.74', '0.05')
    """
    if share is None or math.isnan(share):
        return NOTHING
    return f"{100 * share:.2f}" if share >= 0.001 or share == 0 else f"{100 * share:.2g}"


def with_interval(mean: float, half_width: float | None, scale: float = 100.0) -> str:
    """Both times ``scale``, which makes per cent of shares; a single value has no interval.

    >>> with_interval(0.9123, 0.0045), with_interval(0.5, None)
    ('91.23 ± 0.45', '50.00')
    """
    if half_width is None or math.isnan(half_width):
        return f"{scale * mean:.2f}"
    return f"{scale * mean:.2f} ± {scale * half_width:.2f}"


def number(value: float | None, digits: int = 4) -> str:
    """``digits`` significant digits, or a dash."""
    return NOTHING if value is None or math.isnan(value) else f"{value:.{digits}g}"


def heading(metric: str) -> str:
    """A logged metric as a column or an axis names it; shares are shown in per cent.

    >>> heading("test/miou"), heading("train/loss")
    ('test mIoU (%)', 'train loss')
    """
    return metric.replace("/", " ").replace("miou", "mIoU") + " (%)" * is_share(metric)


def is_share(metric: str) -> bool:
    """Whether a logged metric lies in [0, 1]: an accuracy or a mean IoU."""
    return metric.endswith(("accuracy", "miou"))
