"""What the figures of pruned networks share: a panel per density, a look per method.

Frames have the columns of ``tables.labels``.
"""

from experiments.plotting import panels, style
from experiments.plotting.style import Look
from experiments.runs import Frame


def levels(frame: Frame, with_dense: bool = False) -> list[tuple[str, Frame]]:
    """``(title, rows)`` of each data, model and density below 1, the densest first.

    ``with_dense`` adds the dense runs of the same data and model to each of them. Where nothing is
    pruned, the dense runs are the only level.
    """
    titled = []
    for (data, model), group in frame.groupby(["data", "model"], sort=False):
        words = [data] * (frame["data"].nunique() > 1) + [model] * (frame["model"].nunique() > 1)
        is_dense = group["density"] == 1
        for density in sorted(set(group["density"][~is_dense]) or {1.0}, reverse=True):
            shown = (group["density"] == density) | (is_dense & with_dense)
            titled.append((", ".join([*words, f"density {100 * density:.3g} %"]), group[shown]))
    return titled


def replicates(group: Frame) -> str:
    """How many seeds the lines of a panel stand for."""
    return panels.in_words(group.groupby("method")["seed"].nunique())


def looks(frame: Frame) -> dict[str, Look]:
    """The look of every method label of ``frame``, in the order of the legend."""
    return style.line_styles(zip(frame["base"], frame["control"], frame["method"], strict=True))


def present(looks: dict[str, Look], group: Frame) -> list[tuple[str, Look]]:
    """The labels that occur in ``group``, with their looks."""
    return [(label, look) for label, look in looks.items() if label in set(group["method"])]
