"""Regimes and procedures of a finished grid as tables."""

from collections.abc import Mapping
from typing import Any

from experiments.presentation import Table, with_interval
from experiments.protocols.three_regime.results import (
    grid_of,
    living,
    over_seeds,
    procedures_of,
    regimes_of,
)
from ntk_prune.landscape.selection import SeedMean

Results = Mapping[str, Any]
RECONSTRUCTED = (
    "Reconstructions: the paper names these procedures, its pseudo-code was not at hand. Regret: "
    "test error above that of the best temperature of each density, which is hindsight; over "
    "fixed: above that of the best fixed temperature. Means over densities ± standard error over "
    "dense seeds, in per cent."
)


def overview(results: Results, **thresholds: float | None) -> list[Table]:
    """All of them: regimes, the measures that they rest on, procedures."""
    return [
        regimes(results, **thresholds),
        measure(results, "test_error", "Test error (%)"),
        measure(results, "lmc", "LMC of the training error (%)"),
        measure(results, "cka", "CKA of the softmax (%)"),
        contrast(results),
        procedures(results, **thresholds),
    ]


def regimes(results: Results, **thresholds: float | None) -> Table:
    """The regime of every cell, a row for each temperature from the highest down."""
    labels = regimes_of(results, **thresholds)
    similar = "-" if labels.similarity is None else f"{labels.similarity:.4f}"
    rows = [
        [f"{temperature:g}", *(label or "missing" for label in line)]
        for temperature, line in zip(results["temperatures"], labels.labels, strict=True)
    ]
    note = f"Connected from LMC {-labels.connectivity:g} up, similar from CKA {similar} up."
    return Table([results["temperature"], *_densities(results)], rows, title="Regimes", note=note)


def _densities(results: Results) -> list[str]:
    return [f"{100 * density:g} %" for density in results["densities"]]


def measure(results: Results, name: str, title: str, scale: float = 100.0) -> Table:
    """One number of every cell: mean over dense seeds ± Student-t 95 % half width."""
    means = over_seeds(grid_of(results, name) if name == "test_error" else living(results, name))
    rows = [
        [f"{temperature:g}", *(with_interval(m, h, scale) for m, h in zip(*line, strict=True))]
        for temperature, line in zip(
            results["temperatures"], zip(means.mean, means.half_width, strict=True), strict=True
        )
    ]
    heads = [results["temperature"], *_densities(results)]
    return Table(heads, rows, range(1, len(heads)), title=f"{title}, n = {means.n.max()}")


def contrast(results: Results) -> Table:
    """What the temperature does: the lowest minus the highest, paired by dense seed."""
    rows = []
    for name, title in (("test_error", "test error"), ("lmc", "LMC"), ("cka", "CKA")):
        values = living(results, name)
        means = over_seeds(values[:, -1:] - values[:, :1])
        pairs = zip(means.mean[0], means.half_width[0], strict=True)
        rows.append([title, *(with_interval(m, h) for m, h in pairs)])
    hot, cold = results["temperatures"][0], results["temperatures"][-1]
    heads = [f"{results['temperature']} {cold:g} minus {hot:g}", *_densities(results)]
    return Table(heads, rows, range(1, len(heads)), title=f"Temperature (%), n = {means.n.max()}")


def procedures(results: Results, **thresholds: float | None) -> Table:
    """What the reconstructed procedures cost, beside fixed temperatures."""
    rows = [
        [
            name,
            _per_cent(o.regret),
            f"{100 * o.worst:.2f}",
            _per_cent(o.over_fixed),
            str(o.regret.n),
        ]
        for name, o in procedures_of(results, **thresholds).items()
    ]
    heads = ["procedure", "regret", "worst density", "over fixed", "n"]
    return Table(heads, rows, range(1, 5), title="Procedures", note=RECONSTRUCTED)


def _per_cent(value: SeedMean) -> str:
    return with_interval(value.mean, value.sem)
