"""What the report shows of lotteries and their branches together."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from experiments.presentation import NamedFigure, Presentation, Section
from experiments.protocols.lottery import figures, tables
from experiments.references import Reference
from experiments.runs import Frame, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEXT = (
    "Means over n replicates ± half width of the Student-t 95 % interval; a single replicate has "
    "no interval. Early stop: the step of least test loss. Learnt: the step to twice the least "
    "test loss of the dense networks, where all replicates reach it. Barrier: the rise of the test "
    "error on the line between two networks."
)

_CAPTIONS = {
    "levels": "Levels of the lotteries and of their branches. Lines: means over replicates; bars: "
    "Student-t 95 % intervals (none for one replicate), moved sideways a little.",
    "connectivity": "Left: the barrier of the test error on the line between two trained networks, "
    "means with Student-t 95 % intervals; right: the mean error on it.",
    "stability": "The barrier between two networks trained with different orders of the data from "
    "the rewind step on; means with Student-t 95 % intervals over replicates.",
}


def present(runs: Sequence[Run], published: Sequence[Reference] = ()) -> Presentation:  # noqa: ARG001
    """A table of levels for every network, and figures of what several runs on it show together."""
    frames = list(tables.frames(runs))
    levels = [tables.levels(frame, network) for network, frame in frames]
    results = [Section("Lotteries", levels, _TEXT)] if levels else []
    return Presentation(results, _figures(frames))


def _figures(frames: Sequence[tuple[str, Frame]]) -> Iterator[NamedFigure]:
    drawn = [(kind, network, f) for network, frame in frames for kind, f in _common(frame)]
    for number, (kind, network, figure) in enumerate(drawn, start=1):
        caption = f"{_CAPTIONS[kind]} {network}."
        yield NamedFigure(f"lottery_{number}_{kind}", caption, figure)


def _common(frame: Frame) -> Iterator[tuple[str, "Figure"]]:
    """``(kind, figure)`` of what several runs on one network show together."""
    if frame["run"].nunique() > 1:
        yield from figures.all_of(frame.to_dict("records")).items()
    if "rewind" in frame and frame["rewind"].nunique() > 1:
        yield "stability", figures.stability(frame[frame["rewind"].notna()])
