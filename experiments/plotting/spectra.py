"""Eigenvalues by rank."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.plotting import panels, style
from experiments.plotting.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@panels.styled
def eigenvalues(spectra: Mapping[str, np.ndarray]) -> "Figure":
    """Eigenvalues of the NTK by rank, log-log, one line per method; ``dense`` is drawn in grey.

    The legend gives the trace and the condition number, the largest by the smallest positive
    eigenvalue.
    """
    figure, axes = panels.grid(1, 1, width=5.6, height=4.0)
    ax = axes[0, 0]
    looks = style.line_styles((name, "none", name) for name in spectra)
    for name, values in spectra.items():
        line(ax, [values], name, {**looks[name], "marker": None})
    by_rank(ax)
    ax.set_ylabel("eigenvalue of the NTK")
    return figure


def by_rank(ax: "Axes") -> None:
    """Both axes logarithmic, and a legend of what ``line`` has drawn."""
    ax.set(xscale="log", yscale="log", xlabel="rank")
    ax.legend(fontsize=7.5, loc="lower left", title="trace, condition number",
              title_fontsize=7.5, alignment="left")  # fmt: skip


def line(ax: "Axes", spectra: Sequence[np.ndarray], label: str, look: Look) -> None:
    """Positive eigenvalues by rank: thin lines of several spectra, thick their geometric mean.

    Spectra are cut to the shortest. The label gets the means of trace and condition number.
    """
    size = min(len(values) for values in spectra)
    values = np.stack([np.sort(values)[::-1][:size] for values in spectra])
    positive = np.where(values > 0, values, np.nan)
    rank = np.arange(1, size + 1)
    if len(spectra) > 1:
        ax.plot(rank, positive.T, **{**look, "linewidth": 0.6, "alpha": 0.35})
    trace = values.sum(axis=1).mean()
    condition = np.mean(np.nanmax(positive, axis=1) / np.nanmin(positive, axis=1))
    text = f"{label}: {_number(trace)}, {_number(condition)}"
    ax.plot(rank, np.exp(np.log(positive).mean(axis=0)), label=style.plain(text), **look)


def _number(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.2g}"
