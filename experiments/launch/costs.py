"""What the unfinished cells of a sweep will take."""

import statistics
from collections.abc import Sequence

from tqdm import tqdm

from experiments.launch.cells import Cell
from experiments.launch.states import Ledger


def estimate(cells: Sequence[Cell], ledger: Ledger, workers: int) -> str:
    """A line with the time that is left, from the recorded times of finished cells.

    A cell is taken to last as long as the mean of those with its config file, or else of all.
    """
    unfinished, times = [], {}
    hosts = set()
    for cell in cells:
        state, _ = ledger.state(cell)
        record = ledger.record(cell) if state == "finished" else None
        if state in ("waiting", "running"):
            unfinished.append(cell)
        if record is not None:
            times.setdefault(cell.source, []).append(record["seconds"])
            hosts.add(record["host"])
    if not unfinished:
        return "nothing is left to run"
    everything = [seconds for group in times.values() for seconds in group]
    if not everything:
        return "no cell has been timed yet: the time left is unknown"
    seconds = sum(statistics.mean(times.get(cell.source, everything)) for cell in unfinished)
    whole, shared = (tqdm.format_interval(s) for s in (seconds, seconds / workers))
    return (
        f"{whole} of work left, {shared} with {workers} at a time, by {len(everything)} finished "
        f"cells on {', '.join(sorted(hosts))}"
    )
