"""The panels of Fig. 2 over one's own grid, with the published ones, digitised, below them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.plotting import panels, style
from experiments.plotting.heat_maps import heat_map, write
from experiments.protocols.three_regime.results import (
    CellMeans,
    grid_of,
    is_dead,
    living,
    over_seeds,
    regimes_of,
)
from experiments.references.published_grids import PublishedGrids, load_grids
from ntk_prune import landscape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Results = Mapping[str, Any]
PUBLISHED = "three_regime_fig2"
_PUBLISHED_COLOR = "#B04A00"
_AXES = {
    "stopping_epoch": "dense epochs (fewer: hotter)",
    "batch_size": "dense batch size (smaller: hotter)",
    "sam_rho": r"SAM radius $\rho$ (larger: hotter)",
}
_PANELS = {
    "test_error": ("test error (%)", "Blues", 100, 1),
    "normalised_error": ("above the column's least (%)", "Blues", 100, 1),
    "lmc": ("connectivity (LMC, %)", "Blues_r", 100, 1),
    "cka": ("CKA of the softmax", "Blues_r", 1, 3),
}
_MORE = {
    "barrier_train_loss": ("barrier of the training loss", "Blues", 1, 2),
    "barrier_test_error": ("barrier of the test error (%)", "Blues", 100, 1),
    "cka_unbiased": ("unbiased CKA", "Blues_r", 1, 3),
    "agreement": ("agreement on test images (%)", "Blues_r", 100, 1),
    "jensen_shannon": ("Jensen-Shannon (nats)", "Blues", 1, 3),
    "hessian_top": ("top Hessian eigenvalue", "Blues", 1, 2),
    "hessian_trace": ("trace of the Hessian", "Blues", 1, 1),
    "ntk_distance": ("relative distance of the NTKs", "Blues", 1, 2),
    "ntk_overlap": ("overlap of the NTKs' top spaces", "Blues_r", 1, 3),
}


def all_of(results: Results) -> dict[str, "Figure"]:
    """The figures of a run by the names of their files."""
    return {"three_regime": regimes(results), "measures": measures(results)}


@panels.styled
def regimes(results: Results) -> "Figure":
    """Error, error above the least of its density, connectivity and CKA, with the boundaries.

    Solid: between connected and not; dashed: between similar and not. Where the published grid
    has the same kind of temperature it stands below, marked as digitised.
    """
    published = load_grids(PUBLISHED)
    rows = 1 + (published.temperature == results["temperature"])
    height = 1.0 + 0.42 * max(len(results["temperatures"]), 5)
    figure, axes = panels.grid(rows, 4, width=1.2 + 0.45 * _columns(results), height=height)
    edges = landscape.boundaries(regimes_of(results).labels)
    for ax, (name, look) in zip(axes[0], _PANELS.items(), strict=True):
        _own_panel(ax, results, _means(results, name), look)
        _draw_boundaries(ax, edges)
    if rows == 2:
        for ax, (name, look) in zip(axes[1], _PANELS.items(), strict=True):
            _published_panel(ax, published, name, look)
    _caption(figure, results, published if rows == 2 else None)
    return figure


def _columns(results: Results) -> int:
    return max(len(results["densities"]), 6)


def _means(results: Results, name: str) -> CellMeans:
    """Means over seeds; ``normalised_error`` is that above the least mean of its column.

    Dead masks count in the errors alone.
    """
    if name == "test_error":
        return over_seeds(grid_of(results, name))
    if name != "normalised_error":
        return over_seeds(living(results, name))
    errors = grid_of(results, "test_error")
    best = np.argmin(np.mean(errors, 0), 0)
    least = errors[:, best, np.arange(errors.shape[2])]
    return over_seeds(errors - least[:, None])


def _own_panel(ax: "Axes", results: Results, means: CellMeans, look: tuple) -> None:
    title, colors, scale, digits = look
    heat_map(
        ax,
        scale * means.mean,
        scale * means.half_width,
        means.n,
        rows=[f"{t:g}" for t in results["temperatures"]],
        columns=[f"{100 * d:g}" for d in results["densities"]],
        colors=colors,
        digits=digits,
    )
    ax.set_title(title)
    ax.set_ylabel(_AXES[results["temperature"]])
    ax.set_xlabel("density: weights kept (%)")


def _draw_boundaries(ax: "Axes", edges: landscape.Boundaries) -> None:
    from matplotlib.collections import LineCollection

    for segments, line in ((edges.connectivity, "solid"), (edges.similarity, "dashed")):
        color = style.COLORS[1]
        ax.add_collection(
            LineCollection(list(segments), colors=color, linewidths=1.8, linestyles=line)
        )


def _published_panel(ax: "Axes", published: PublishedGrids, name: str, look: tuple) -> None:
    """A digitised panel, without intervals or counts: none are published."""
    title, colors, scale, _ = look
    values = published.grids["test_error" if name == "normalised_error" else name].values
    values = values - values.min(0) if name == "normalised_error" else values
    image = ax.imshow(scale * values, cmap=colors, aspect="auto")
    ax.set_xticks(range(values.shape[1]), [f"{100 * d:g}" for d in published.density])
    ax.set_yticks(range(values.shape[0]), [f"{t:g}" for t in published.temperatures])
    for row, column in np.ndindex(*values.shape):
        write(
            ax, (row, column), f"{scale * values[row, column]:.{1 if scale == 100 else 2}f}", image
        )
    ax.grid(False)
    ax.set_title(f"published, digitised: {title}", color=_PUBLISHED_COLOR)
    ax.set_xlabel("density: weights kept (%)")


def _caption(figure: "Figure", results: Results, published: PublishedGrids | None) -> None:
    labels = regimes_of(results)
    similar = "none" if labels.similarity is None else f"{labels.similarity:.3f}"
    text = (
        f"Means over {results['dense_seeds']} dense seeds with Student-t 95 % half widths, each a "
        f"mean over {results['retrain_seeds']} retrainings or their pairs. Solid: LMC "
        f"{-100 * labels.connectivity:g} %; dashed: CKA {similar}. Dead masks (in the errors "
        f"alone): {int(is_dead(results).sum())}."
    )
    if published is not None:
        text += f" Below: {published.label}, not measured here."
    figure.supxlabel(text, fontsize=7)


@panels.styled
def measures(results: Results) -> "Figure":
    """Barrier heights, other similarities and, where measured, curvature and kernels."""
    shown = {name: look for name, look in _MORE.items() if name in results["rows"][0]}
    size = {"width": 1.2 + 0.45 * _columns(results),
            "height": 1.0 + 0.42 * max(len(results["temperatures"]), 5)}  # fmt: skip
    figure, axes = panels.wrapped(len(shown), _per_row(shown), **size)
    for ax, (name, look) in zip(axes, shown.items(), strict=True):
        _own_panel(ax, results, _means(results, name), look)
    return figure


def _per_row(shown: Sequence[str] | Mapping[str, Any]) -> int:
    return 3 if len(shown) <= 6 else 4
