"""The figure of random pruning: kernels against width and density, and the required width."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.plotting import panels, style
from experiments.plotting.axes import log_axis, power_of_two_axes, sideways, width_axis
from experiments.plotting.saving import save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = dict[str, Any]  # one cell of the protocol ntk_theory
_BLUE, _RED, _GREEN, _PINK, *_ = style.COLORS
_TWO = 1.96  # normal 95 % interval in standard errors
_SWEEP = {
    "sweep_dense": ("dense", style.DENSE, "o"),
    "sweep_pruned": ("hidden and output", _BLUE, "s"),
    "sweep_input_pruned": ("every layer", _RED, "^"),
}
_SCALING = {
    "scaling_0": ("constant", style.DENSE, "o"),
    "scaling_0.5": (r"$\alpha^{-1/2}$", _BLUE, "s"),
    "scaling_1": (r"$\alpha^{-1}$", _RED, "^"),
    "scaling_2": (r"$\alpha^{-2}$", _GREEN, "D"),
}


def draw(rows: Sequence[Row], law: dict[str, Any], widths: Sequence[int], folder: Path) -> None:
    """``random_pruning_theory.png`` in ``folder``."""
    save(random_pruning(rows, law, widths), folder / "random_pruning_theory")


@panels.styled
def random_pruning(rows: Sequence[Row], law: dict[str, Any], widths: Sequence[int]) -> "Figure":
    """Six panels from the rows and the fitted law of a run; error bars are 95 % intervals.

    ``widths`` are those of the law.
    """
    figure, axes = panels.grid(2, 3, width=3.6, height=2.9)
    _sweep_pruned(axes[0, 0], rows)
    _sweep_rescaled(axes[0, 1], rows)
    _scaling(axes[0, 2], rows)
    _deviation(axes[1, 0], rows, law, widths)
    _required_width(axes[1, 1], law)
    _convolutions(axes[1, 2], rows)
    return figure


def _of(rows: Sequence[Row], experiment: str) -> list[Row]:
    return [row for row in rows if row["experiment"] == experiment]


def _bars(ax: "Axes", x, line: Sequence[Row], look: tuple, *, form="rescaled", name="mean", by=1.0):
    """Estimates of a line over ``x``, divided by ``by``, with their intervals."""
    label, color, marker = look
    error = {"mean": "sem", "mad": "mad_sem"}[name]
    y = np.array([row[form][name] for row in line]) / by
    half = _TWO * np.array([row[form][error] for row in line]) / by
    ax.errorbar(x, y, half, label=label, color=color, marker=marker, markersize=3.5,
                linewidth=1.1, elinewidth=0.8, capsize=2)  # fmt: skip


def _sweep(ax: "Axes", rows: Sequence[Row], form: str) -> None:
    for i, (experiment, look) in enumerate(_SWEEP.items()):
        line = _of(rows, experiment)
        x = [row["width"] * sideways(i, len(_SWEEP), 1.06) for row in line]
        _bars(ax, x, line, look, form=form)
    width_axis(ax, [row["width"] for row in rows if row["experiment"] in _SWEEP])


def _sweep_pruned(ax: "Axes", rows: Sequence[Row]) -> None:
    _sweep(ax, rows, "pruned")
    for experiment, (_, color, _) in _SWEEP.items():
        ax.axhline(_of(rows, experiment)[0]["limit_pruned"], color=color, lw=0.8, ls="--")
    log_axis(ax)
    ax.set_ylabel("mean kernel")
    density = _of(rows, "sweep_pruned")[0]["density"]
    n = rows[0]["pruned"]["n"]
    ax.set_title(rf"pruned, $\alpha$ = {density:g}, n = {n}; dashed: $\alpha^L\Theta_\infty$")


def _sweep_rescaled(ax: "Axes", rows: Sequence[Row]) -> None:
    _sweep(ax, rows, "rescaled")
    ax.axhline(rows[0]["limit"], color="black", lw=0.8, ls="--")
    ax.set_ylabel("mean kernel")
    ax.set_title(rf"rescaled, n = {rows[0]['pruned']['n']}; dashed: $\Theta_\infty$")
    ax.legend(title="pruned layers")


def _scaling(ax: "Axes", rows: Sequence[Row]) -> None:
    n = 0
    for experiment, look in _SCALING.items():
        line = _of(rows, experiment)
        if line:
            n = line[0]["rescaled"]["n"]
            _bars(ax, [1 - row["density"] for row in line], line, look, name="mad")
    ax.set_ylim(bottom=0)
    ax.set_xlabel(r"pruned fraction $1 - \alpha$")
    ax.set_ylabel(r"mean $|\Theta - \Theta_\infty|$")
    ax.set_title(f"rescaled, n = {n}")
    ax.legend(title="width grows as", ncols=2)


def _deviation(ax: "Axes", rows: Sequence[Row], law: dict[str, Any], widths: Sequence[int]) -> None:
    from matplotlib import colormaps

    cells = _of(rows, "law")
    shades = colormaps["viridis"](np.linspace(0.85, 0.0, len(law["densities"])))
    for density, shade in zip(law["densities"], shades, strict=True):
        line = [row for row in cells if row["density"] == density]
        _bars(ax, [row["width"] for row in line], line, (f"{density:g}", shade, "o"), name="mad")
    ax.axhline(law["level"], color="black", lw=0.8, ls="--")
    log_axis(ax)
    width_axis(ax, widths)
    ax.set_ylabel(r"mean $|\Theta - \Theta_\infty|$")
    ax.set_title(f"rescaled, n = {cells[0]['rescaled']['n']}; dashed: level {law['level']:.3g}")
    ax.legend(title=r"$\alpha$", ncols=2, loc="lower left", fontsize=8)


def _required_width(ax: "Axes", law: dict[str, Any]) -> None:
    inverse = 1 / np.array(law["densities"])
    required = np.array(law["required_widths"])
    low, high = np.array(law["required_widths_interval"]).T
    bars = np.abs(np.stack([required - low, high - required]))
    ax.errorbar(inverse, required, bars, color=_BLUE, marker="o", ls="none", markersize=3.5,
                elinewidth=0.8, capsize=2)  # fmt: skip
    _power_laws(ax, inverse, required, law)
    power_of_two_axes(ax)
    ax.set_xlabel(r"$1 / \alpha$")
    ax.set_ylabel("required width")
    ax.set_title(f"width for the level {law['level']:.3g}")
    ax.legend()


def _power_laws(ax: "Axes", inverse: np.ndarray, required: np.ndarray, law: dict[str, Any]) -> None:
    """The fitted power, and two powers from the first point on."""
    centre = np.exp(np.log(required).mean() - law["exponent"] * np.log(inverse).mean())
    x = np.geomspace(inverse.min(), inverse.max(), 50)
    low, high = law["exponent_interval"]
    label = rf"$\alpha^{{-{law['exponent']:.2f}}}$, 95 %: {low:.2f} to {high:.2f}"
    ax.plot(x, centre * x ** law["exponent"], color=_BLUE, lw=1.1, label=label)
    for power, line in ((0.5, ":"), (1.0, "--")):
        ax.plot(x, required[0] * (x / inverse[0]) ** power, color="0.45", lw=0.9, ls=line,
                label=rf"$\alpha^{{-{power:g}}}$")  # fmt: skip


def _convolutions(ax: "Axes", rows: Sequence[Row]) -> None:
    cells = _of(rows, "cnn")
    if not cells:
        ax.set_axis_off()
        return
    looks = zip((style.DENSE, _BLUE, _RED, _GREEN, _PINK), "os^Dv", strict=True)
    densities = sorted({row["density"] for row in cells}, reverse=True)
    for i, (density, (color, marker)) in enumerate(zip(densities, looks, strict=False)):
        line = [row for row in cells if row["density"] == density]
        x = [row["width"] * sideways(i, len(densities), 1.06) for row in line]
        _bars(ax, x, line, (f"{density:g}", color, marker), by=cells[0]["limit"])
    ax.axhline(1, color="black", lw=0.8, ls="--")
    width_axis(ax, [row["width"] for row in cells], "channels")
    ax.set_ylabel(r"mean kernel / $\Theta_\infty$")
    ax.set_title(f"convolutional, rescaled, n = {cells[0]['rescaled']['n']} (no theorem)")
    ax.legend(title=r"$\alpha$")
