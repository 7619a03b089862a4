"""What a run came to: the spectra, one row for each mask, the slaving residuals."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.plotting.statistics import mean_interval
from experiments.protocols.imc.config import IMP
from experiments.protocols.imc.networks import Networks
from experiments.protocols.imc.slaving import ORDERS
from ntk_prune.inertial.reduced import decay_rate

Results = Mapping[str, Any]
Row = dict[str, Any]


def collect(networks: Networks) -> dict[str, Any]:
    """The content of ``results.json``."""
    c = networks.config
    return {
        "spectra": [
            networks.part(r, "spectrum").read_json("spectrum.json") for r in range(c.replicates)
        ],
        "rows": [row for r in range(c.replicates) for row in _rows(networks, r)],
        "dense": [_dense(networks, r) for r in range(c.replicates) if IMP in c.others],
        "slaving": [_slaving(networks, r) for r in range(c.replicates) if c.slaving],
        "subspaces": [_subspaces(networks, r) for r in range(c.replicates) if c.subspaces],
    }


def _rows(networks: Networks, replicate: int) -> list[Row]:
    rows = []
    for method in [*networks.pruners, *[IMP] * (IMP in networks.config.others)]:
        for name, density in networks.densities(replicate, method).items():
            part = networks.part(replicate, f"{method}/{name}")
            done, overlap = part.read_json("DONE"), part.read_json("overlap.json")
            certificate = part.read_json("certificate.json")
            rows.append(
                {
                    "replicate": replicate,
                    "method": method,
                    "rate": name if name in networks.config.rates else "prescribed",
                    "density": density,
                    "weights_kept": part.read_json("pruning.json")["kept"],
                    "test/accuracy": done["test/accuracy"],
                    "overlap": overlap["share"],
                    "chance": overlap["chance"],
                    "smallest_cosine": overlap["smallest_cosine"],
                    "certificate": certificate,
                }
            )
    return rows


def _dense(networks: Networks, replicate: int) -> float:
    return networks.part(replicate, "dense").read_json("DONE")["test/accuracy"]


def _slaving(networks: Networks, replicate: int) -> dict[str, Any]:
    """The residuals along a training, over time ``t`` in units of the flow, and their decay."""
    part = networks.part(replicate, "slaving")
    rate = networks.recipe.learning_rate
    steps = [step for step, _ in part.logged("slaving/distance") if step > 0]
    times = np.cumsum([0.0, *(float(np.asarray(rate(step))) for step in range(max(steps)))])
    curves = {name: [value for _, value in part.logged(f"slaving/{name}")] for name in ORDERS}
    fits = {}
    for name, values in curves.items():
        if len(values) >= 3 and all(np.isfinite(v) and v > 0 for v in values):
            fits[name] = decay_rate(times[steps], np.array(values))._asdict()
    return {"time": times[steps].tolist(), "decay": fits,
            **{name: [v if np.isfinite(v) else None for v in values]
               for name, values in curves.items()}}  # fmt: skip


def _subspaces(networks: Networks, replicate: int) -> dict[str, float]:
    return {
        side: networks.part(replicate, f"subspace_{side}").read_json("DONE")["test/accuracy"]
        for side in ("dominant", "bulk")
    }


def statements(results: Results) -> list[str]:
    """What the gap conditions say, plainly, and the rates that the spectrum gives."""
    lines = []
    for r, numbers in enumerate(results["spectra"]):
        for ball in numbers["remainder"]:
            cone = ball["conditions"]["cone"]
            lines.append(
                f"replicate {r}, ball of {ball['radius']:g}: Lipschitz constant at least "
                f"{ball['lipschitz_lower_bound']:.3g}, left after {ball['exit_steps']:.2g} steps; "
                f"dimensions for C = 2: {cone['says']}{_certified(ball.get('certificate'))}"
            )
        plateau, limit = numbers["plateau_published"], numbers["one_shot_sparsity"]
        lines.append(
            f"replicate {r}: plateau of the group's rule {plateau['value']:.3f} +- "
            f"{plateau['sem']:.3f} (standard error, {plateau['n']} probes); largest one-shot "
            f"sparsity predicted {limit['value']:.4f} +- {limit['sem']:.4f}"
        )
    return lines


def _certified(certificate: Mapping[str, Any] | None) -> str:
    """What the certificate of an eigenspace says, after a semicolon."""
    if certificate is None:
        return ""
    word = "certified" if certificate["holds"] else "not certified"
    return (
        f"; top {certificate['fast']}: {word} (alpha {certificate['alpha']:.3g}, beta "
        f"{certificate['beta']:.3g}, {certificate['num_points']} points)"
    )


def certificates(results: Results, method: str, density: float) -> list[Mapping[str, Any]]:
    """The certificates of the masks of a method at a density, where there are any."""
    rows = [r for r in results["rows"] if r["method"] == method and r["density"] == density]
    return [row["certificate"] for row in rows if row.get("certificate")]


def over_replicates(results: Results, name: str) -> dict[str, list[Row]]:
    """Mean, half width and n over replicates of a number of the rows, by method, at the prescribed
    densities from the highest down."""
    by_method: dict[str, list[Row]] = {}
    prescribed = [row for row in results["rows"] if row["rate"] == "prescribed"]
    for method in dict.fromkeys(row["method"] for row in prescribed):
        own = [row for row in prescribed if row["method"] == method]
        for density in sorted({row["density"] for row in own}, reverse=True):
            values = [row[name] for row in own if row["density"] == density]
            mean, half_width, n = mean_interval(values)
            entry = {"density": density, "mean": mean, "half_width": half_width, "n": n}
            by_method.setdefault(method, []).append(entry)
    return by_method


def summary(results: Results) -> dict[str, Any]:
    """What ``DONE`` says: accuracies at the lowest density, and what the gap admits."""
    accuracies = over_replicates(results, "test/accuracy")
    cones = [ball["conditions"]["cone"] for s in results["spectra"] for ball in s["remainder"]]
    return {
        **{f"{method}/test/accuracy": rows[-1]["mean"] for method, rows in accuracies.items()},
        "density": min(row["density"] for rows in accuracies.values() for row in rows),
        "n": len(results["spectra"]),
        "balls_with_an_admissible_dimension": sum(bool(cone["attracting"]) for cone in cones),
        "balls": len(cones),
    }
