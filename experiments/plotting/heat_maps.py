"""Grids of cells as colours, with what every cell says and how many runs it stands for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BARE = {"facecolor": "white", "edgecolor": "#B0B0B0", "hatch": "////", "linewidth": 0}


def heat_map(
    ax: "Axes",
    mean: np.ndarray,
    half_width: np.ndarray,
    n: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    colors: str = "Blues",
    digits: int = 1,
) -> Any:
    """Draw ``mean [rows, columns]``, the first row on top; returns the image, for a colour bar.

    A cell says its mean, ``± half_width`` where that is finite, and ``n``. Cells with ``n = 0`` are
    hatched. ``rows`` and ``columns`` label the cells, ``colors`` is a colour map of matplotlib.
    Raises ValueError where shapes and labels do not fit.
    """
    shape = (len(rows), len(columns))
    if not mean.shape == half_width.shape == n.shape == shape:
        raise ValueError(
            f"{shape[0]} rows and {shape[1]} columns, but means {mean.shape}, half widths "
            f"{half_width.shape} and counts {n.shape}"
        )
    image = ax.imshow(np.where(n > 0, mean, np.nan), cmap=colors, aspect="auto")
    ax.set_xticks(range(shape[1]), columns)
    ax.set_yticks(range(shape[0]), rows)
    ax.grid(False)
    for cell in np.ndindex(shape):
        if n[cell]:
            text = _text(mean.item(cell), half_width.item(cell), n.item(cell), digits)
            write(ax, cell, text, image)
        else:
            _hatch(ax, cell)
    return image


def _text(mean: float, half_width: float, n: int, digits: int) -> str:
    interval = f"\n± {half_width:.{digits}f}" if np.isfinite(half_width) else ""
    return f"{mean:.{digits}f}{interval}\nn = {n}"


def write(ax: "Axes", cell: tuple[int, ...], text: str, image: Any) -> None:
    """``text`` in a cell of ``image``, black on light cells and white on dark ones."""
    red, green, blue, _ = image.to_rgba(image.get_array()[cell])
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
    row, column = cell
    ax.text(column, row, text, ha="center", va="center", fontsize=5.5, linespacing=0.95,
            color="white" if dark else "black")  # fmt: skip


def _hatch(ax: "Axes", cell: tuple[int, ...]) -> None:
    from matplotlib.patches import Rectangle

    row, column = cell
    ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **_BARE))


def outline(ax: "Axes", region: np.ndarray, **line: Any) -> None:
    """The border of ``region`` (bool, ``[rows, columns]``) inside a heat map, between its cells.

    ``line`` are keywords of ``Axes.plot``. The outer edge of the grid is not drawn.
    """
    edges: list[tuple[list[float], list[float]]] = []
    for row, column in zip(*np.nonzero(region[:, 1:] != region[:, :-1]), strict=True):
        edges.append(([column + 0.5] * 2, [row - 0.5, row + 0.5]))
    for row, column in zip(*np.nonzero(region[1:] != region[:-1]), strict=True):
        edges.append(([column - 0.5, column + 0.5], [row + 0.5] * 2))
    for x, y in edges:
        ax.plot(x, y, **{"color": "black", "linewidth": 1.5, "solid_capstyle": "round", **line})
