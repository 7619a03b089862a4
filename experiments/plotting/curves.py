"""What networks learn over their steps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.plotting import panels, style
from experiments.presentation import heading, is_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]
"""``(step, value)`` of every logged value."""


@panels.styled
def learning_curves(curves: Mapping[str, Sequence[Curve]]) -> "Figure":
    """A panel per metric with the curves of all replicates, at equal steps; thick: their mean."""
    logged = {name: replicates for name, replicates in curves.items() if any(replicates)}
    figure, axes = panels.grid(1, len(panels.require(logged, "curves")), width=2.9, height=2.6)
    for ax, (name, replicates) in zip(axes.flat, logged.items(), strict=True):
        _replicates(ax, np.array(replicates), 100 if is_share(name) else 1)
        ax.set(xlabel="step", ylabel=heading(name))
    axes[0, 0].set_title(f"n = {max(map(len, logged.values()))}")
    return figure


def _replicates(ax: "Axes", curves: np.ndarray, scale: float) -> None:
    """``curves`` are ``[replicates, steps, 2]``."""
    steps, values = curves[0, :, 0], scale * curves[:, :, 1]
    if len(values) > 1:
        ax.plot(steps, values.T, color=style.COLORS[0], linewidth=0.6, alpha=0.4)
    ax.plot(steps, values.mean(axis=0), color=style.COLORS[0])
