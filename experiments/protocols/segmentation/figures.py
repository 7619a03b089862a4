"""Pictures whose every pixel has a label, beside what a network says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from experiments.plotting import panels, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNLABELLED = 255
_GREY = "#D0D0D0"
_HATCH = "////"


@panels.styled
def predictions(
    x: np.ndarray, y: np.ndarray, predicted: np.ndarray, classes: Sequence[str], name: str
) -> "Figure":
    """A row per image: the picture, its labels, the prediction; below, the classes that occur.

    Pixels without a label are hatched. Raises ValueError where shapes or classes do not fit.

    Args:
        x: Images, uint8 ``[n, H, W, C]`` with 1 or 3 channels.
        y: Classes of their pixels, ``[n, H, W]``; 255 where a pixel has none.
        predicted: Predicted classes, ``[n, H, W]``.
        classes: The names of the classes.
        name: What the images are, for the title.
    """
    if not (len(x) and x.shape[:3] == y.shape == predicted.shape):
        raise ValueError(
            f"images {x.shape}, labels {y.shape} and predictions {predicted.shape} do not fit"
        )
    occurring = _occurring(y, predicted, classes)
    height = 2.05 * x.shape[1] / x.shape[2]
    legend_inches = 0.2 * -(-len(occurring) // 4)
    figure, axes = panels.grid(len(x), 3, width=2.1, height=height, extra=legend_inches - 0.2)
    for row, image, labels, said in zip(axes, x, y, predicted, strict=True):
        _picture(row[0], image)
        _classes(row[1], labels)
        _classes(row[2], said)
    for ax, title in zip(axes[0], (f"{name}: picture", "labels", "prediction"), strict=True):
        ax.set_title(style.plain(title))
    _legend(figure, occurring, classes)
    return figure


def _occurring(y: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> list[int]:
    """The classes that occur. ValueError names one without a name."""
    occurring: list[int] = np.union1d(y, predicted).tolist()
    unnamed = [i for i in occurring if i >= len(classes) and i != UNLABELLED]
    if unnamed:
        raise ValueError(f"class {unnamed[0]} has no name: there are {len(classes)} names")
    return occurring


def _picture(ax: "Axes", image: np.ndarray) -> None:
    grey = image.shape[-1] == 1
    ax.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=255)
    _bare(ax)


def _bare(ax: "Axes") -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.grid(False)


def _color(index: int) -> str:
    return style.CLASSES[index % len(style.CLASSES)]


def _classes(ax: "Axes", labels: np.ndarray) -> None:
    from matplotlib.colors import to_rgb

    table = np.array([to_rgb(_color(i)) for i in range(256)])
    table[UNLABELLED] = to_rgb(_GREY)
    ax.imshow(table[labels], interpolation="nearest")
    without = labels == UNLABELLED
    if without.any():
        hatching = ax.contourf(without, levels=[0.5, 1.5], colors="none", hatches=[_HATCH])
        hatching.set(edgecolor="#8A8A8A", linewidth=0)
    _bare(ax)


def _legend(figure: "Figure", occurring: Sequence[int], classes: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=_color(i), label=style.plain(classes[i]))
        for i in occurring
        if i != UNLABELLED
    ]
    if UNLABELLED in occurring:
        patches.append(Patch(facecolor=_GREY, edgecolor="#8A8A8A", hatch=_HATCH, linewidth=0,
                             label="no label"))  # fmt: skip
    figure.legend(handles=patches, loc="outside lower center", ncols=min(4, len(patches)))
