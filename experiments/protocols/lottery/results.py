"""What the networks of a lottery or of a branch came to: ``results.json``, ``DONE``, figures."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.protocols.lottery.tickets import Tickets
from experiments.store import Store

LOG = logging.getLogger(__name__)

Row = dict[str, Any]
"""One network in ``results.json``: curve, replicate, level, and the final numbers."""


def rows(curve: str, tickets: Tickets, levels: Sequence[int], goal: float | None) -> list[Row]:
    """What these networks came to, and when their test loss first reached ``goal``."""
    results = []
    for level, replicate in tickets.networks(levels):
        part = tickets.part(replicate, level)
        row: Row = {"curve": curve, "replicate": replicate, "level": level}
        if part.has("connectivity.json"):
            line = part.read_json("connectivity.json")
            row |= {key: line[key] for key in ("density", "barrier", "t", "test/error")}
            row |= {"rewind": line["rewind"]} if line["between"] == "orders" else {}
        if part.has("DONE"):
            row |= part.read_json("DONE")
            fast = [step for step, loss in part.logged("test/loss") if loss <= (goal or 0)]
            row |= {"learnt/step": fast[0]} if fast else {}
        results.append(row)
    return results


def log_levels(results: Sequence[Row]) -> None:
    """One line for each level: what is kept and what the replicates reach."""
    for level in dict.fromkeys(row["level"] for row in results):
        replicates = [row for row in results if row["level"] == level]
        first = replicates[0]
        reached = [
            f"{name.replace('/', ' ')} {' '.join(f'{row[name]:.4f}' for row in replicates)}"
            for name in ("test/accuracy", "barrier")
            if name in first
        ]
        kept = f"{first['density']:.4%} kept"
        LOG.info(f"{first['curve']}, level {level}: {', '.join([kept, *reached])}")


def goal(tickets: Tickets) -> float | None:
    """Twice the least test loss of the dense networks, the mean over replicates: what a network
    that learns reaches sooner or later. None where there are no dense networks."""
    if 0 not in tickets.levels():
        return None
    dense = [tickets.part(r, 0).logged("test/loss") for r in range(tickets.config.replicates)]
    return 2 * float(np.mean([min(loss for _, loss in losses) for losses in dense]))


def summary(results: Sequence[Row]) -> dict[str, Any]:
    """Means over the replicates of the last level of every curve, for ``DONE``."""
    last = {row["curve"]: row["level"] for row in results}
    means: dict[str, Any] = {}
    for curve, level in last.items():
        rows_of_level = [row for row in results if (row["curve"], row["level"]) == (curve, level)]
        for name in ("density", "test/accuracy", "early_stop/step", "learnt/step", "barrier"):
            values = [row[name] for row in rows_of_level if name in row]
            if values:
                means.setdefault(curve, {"level": level})[name] = sum(values) / len(values)
    return means


def draw_figures(store: Store, results: Sequence[Row]) -> None:
    """The curves of these rows as PNG in the run directory."""
    # matplotlib and pandas are only needed here
    from experiments.protocols.lottery import figures

    figures.draw(results, store.path)
