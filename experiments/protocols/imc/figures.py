"""Spectrum with its gap, leverage against magnitude, slaving residuals, accuracies."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.plotting import panels, style
from experiments.plotting.axes import density_axis, sideways, within
from experiments.protocols.imc.results import over_replicates
from experiments.protocols.imc.slaving import ORDERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Results = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]


def all_of(results: Results, arrays: Arrays) -> dict[str, "Figure"]:
    """The figures of a run by the names of their files; ``arrays`` are the first replicate's."""
    drawn = {
        "spectrum": spectrum(results, arrays),
        "leverage": leverage(arrays),
        "accuracy": accuracy(results),
    }
    return drawn | ({"slaving": slaving(results)} if results["slaving"] else {})


@panels.styled
def spectrum(results: Results, arrays: Arrays) -> "Figure":
    """The density of eigenvalues at W*, and its upper end with the gap of every condition."""
    numbers = results["spectra"][0]
    figure, axes = panels.grid(1, 2, width=4.6, height=3.0)
    _density(axes[0, 0], numbers, arrays)
    _upper_end(axes[0, 1], numbers)
    return figure


def _density(ax: "Axes", numbers: Mapping[str, Any], arrays: Arrays) -> None:
    grid, value, sem = arrays["grid"], arrays["density"], arrays["density_sem"]
    floor = max(float(value.max()) * 1e-7, 1e-12)
    ax.plot(grid, np.maximum(value, floor), color=style.COLORS[0])
    ax.fill_between(grid, np.maximum(value - sem, floor), np.maximum(value + sem, floor),
                    color=style.COLORS[0], alpha=0.25, linewidth=0)  # fmt: skip
    for name, color in (("top", style.COLORS[1]), ("bottom", style.COLORS[2])):
        ax.plot(numbers[name]["values"], np.full(len(numbers[name]["values"]), floor), "|",
                color=color, markersize=9, label=f"{name} eigenvalues")  # fmt: skip
    ax.axvline(numbers["momentum_threshold"], color="0.4", linestyle=":", linewidth=1,
               label=r"momentum's $\lambda_c$")  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel(r"eigenvalue $\lambda$ of the Hessian at $W^*$")
    ax.set_ylabel("density ± standard error")
    share = numbers["negative_share"]
    ax.set_title(f"{100 * share['value']:.1f} ± {100 * share['sem']:.1f} % negative, "
                 f"n = {share['n']} probes", fontsize=9)  # fmt: skip
    ax.legend(fontsize=7)


def _upper_end(ax: "Axes", numbers: Mapping[str, Any]) -> None:
    values = np.array(numbers["top"]["values"])
    ax.errorbar(np.arange(1, len(values) + 1), values, numbers["top"]["residuals"], fmt="o",
                markersize=3, color=style.COLORS[1], capsize=2, elinewidth=0.8)  # fmt: skip
    for i, ball in enumerate(numbers["remainder"]):
        admitted = ball["conditions"]["cone"]["attracting"]
        for m in admitted:
            ax.axvline(numbers["size"] - m + 0.5, color=style.COLORS[3 + i], linewidth=1)
        says = f"{len(admitted)} admissible" if admitted else "none admissible"
        label = (
            rf"$r$ = {ball['radius']:g}: $2L \geq$ {2 * ball['lipschitz_lower_bound']:.2g}, {says}"
        )
        ax.plot([], [], color=style.COLORS[3 + i], label=label)
    ax.set_xlabel("eigenvalue, from the largest")
    ax.set_ylabel(r"$\lambda$ ± residual")
    ax.set_title("upper end; lines: gaps with $g > 2L$", fontsize=9)
    ax.legend(fontsize=7)


@panels.styled
def leverage(arrays: Arrays) -> "Figure":
    """Leverage of the fast directions, and the diagonal, against magnitude, weight by weight."""
    figure, axes = panels.grid(1, 2, width=4.2, height=3.0)
    magnitude = np.abs(arrays["weights"])
    for ax, name, label in (
        (axes[0, 0], "leverage", "leverage of the fast directions"),
        (axes[0, 1], "diagonal", r"$|h_j|$, diagonal of the Hessian"),
    ):
        y = np.abs(arrays[name])
        shown = (magnitude > 0) & (y > 0)
        limits = np.quantile(np.log10(y[shown]), [0.001, 1])
        image = ax.hexbin(np.log10(magnitude[shown]), np.clip(np.log10(y[shown]), *limits),
                          gridsize=40, bins="log", cmap="Blues", linewidths=0.1)  # fmt: skip
        figure.colorbar(image, ax=ax, label="weights")
        ax.set_xlabel(r"$\log_{10} |W^*_j|$")
        ax.set_ylabel(rf"$\log_{{10}}$ {label}")
        rank = _rank_correlation(magnitude[shown], y[shown])
        ax.set_title(f"rank correlation {rank:.2f}", fontsize=9)
    return figure


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


@panels.styled
def slaving(results: Results) -> "Figure":
    """The slaving residual of every order over time; thin lines are replicates."""
    figure, axes = panels.grid(1, 1, width=5.2, height=3.2)
    ax = axes[0, 0]
    for name, color in zip(ORDERS, style.COLORS, strict=False):
        lines = [np.array(replicate[name], float) for replicate in results["slaving"]]
        converges = "" if np.isfinite(lines).any() else " (does not converge)"
        for i, (replicate, values) in enumerate(zip(results["slaving"], lines, strict=True)):
            ax.plot(replicate["time"], values, color=color, linewidth=0.9,
                    label=name.replace("_", " ") + converges if i == 0 else None)  # fmt: skip
    ax.set_yscale("log")
    ax.set_xlabel(r"time from $W^*$ (steps $\times$ learning rate)")
    ax.set_ylabel(r"$|QV - \Phi(PV)| \, / \, |V|$")
    ax.set_title(f"a dense training, n = {len(results['slaving'])}", fontsize=9)
    ax.legend()
    return figure


@panels.styled
def accuracy(results: Results) -> "Figure":
    """Accuracy and captured leverage against density, with intervals over replicates."""
    figure, axes = panels.grid(1, 2, width=4.6, height=3.4, extra=0.5)
    methods = list(over_replicates(results, "overlap"))
    looks = style.numbered(methods)
    for ax, name, label in (
        (axes[0, 0], "test/accuracy", "test accuracy (%)"),
        (axes[0, 1], "overlap", "captured leverage (%)"),
    ):
        lines = over_replicates(results, name)
        for i, (method, entries) in enumerate(lines.items()):
            shift = sideways(i, len(lines), 1.02)
            x = [entry["density"] * shift for entry in entries]
            y = [100 * entry["mean"] for entry in entries]
            half = [100 * (entry["half_width"] or 0.0) for entry in entries]
            ax.errorbar(x, y, half, capsize=2, elinewidth=0.8, **looks[method])
        density_axis(ax, [e["density"] for entries in lines.values() for e in entries])
        ax.set_ylabel(label)
        within(ax, 0, 100)
    if results["dense"]:
        axes[0, 0].axhline(100 * np.mean(results["dense"]), color=style.DENSE, linestyle="--")
    chance = {row["density"]: row["chance"] for row in results["rows"]}
    x = sorted(d for d in chance if d in {r["density"] for r in results["rows"]
                                          if r["rate"] == "prescribed"})  # fmt: skip
    axes[0, 1].plot(x, [100 * chance[d] for d in x], color=style.DENSE, linestyle="--")
    axes[0, 0].set_title(f"n = {len(results['spectra'])}; dashed: dense", fontsize=9)
    axes[0, 1].set_title("of the fast directions; dashed: chance", fontsize=9)
    panels.legend(figure, looks)
    return figure
