"""How many weights each layer keeps at a density: one rule per scope.

A rule takes the kernels' shapes, in the order of the layers, and the density ``d``; it returns one
count a layer. Rounding is to the nearest integer, halves to the even one.
"""

from collections.abc import Callable, Sequence

import numpy as np

Shapes = Sequence[tuple[int, ...]]
Allocation = Callable[[Shapes, float], list[int]]

LAST_LAYER_FLOOR = 0.2
"""The share of the last layer that ``uniform_plus`` keeps at least."""


def layer(shapes: Shapes, density: float) -> list[int]:
    """``round(d n_l)`` in every layer.

    >>> layer([(5,), (10,)], 0.5)
    [2, 5]
    """
    return [round(density * n) for n in _sizes(shapes)]


def uniform(shapes: Shapes, density: float) -> list[int]:
    """``n_l - round((1 - d) n_l)`` in every layer, which is how PyTorch rounds.

    It differs from ``layer`` where ``d n_l`` lies half way between two integers.

    >>> uniform([(5,), (10,)], 0.5)
    [3, 5]
    """
    return [n - round((1 - density) * n) for n in _sizes(shapes)]


def uniform_plus(shapes: Shapes, density: float) -> list[int]:
    """A first convolution whole, at least a fifth of the last layer, the others evenly.

    The rule of Gale et al. (arXiv 1902.09574) as the code of LAMP (arXiv 2010.07611) has it; the
    sum is ``round(d n)`` up to the rounding of each layer. Raises ValueError for a density at which
    the first layer and a fifth of the last are already too many.

    >>> uniform_plus([(3, 3, 1, 4), (10, 20), (20, 5)], 0.25)
    [36, 28, 20]
    """
    sizes = _sizes(shapes)
    first = 1 if len(shapes[0]) > 2 else 0
    pruned = round((1 - density) * sum(sizes))
    share = _share(pruned, sizes[first:], density)
    floor = round(LAST_LAYER_FLOOR * sizes[-1])
    if round((1 - share) * sizes[-1]) >= floor:
        evenly, last = sizes[first:], []
    else:
        evenly, last = sizes[first:-1], [floor]
        share = _share(pruned - (sizes[-1] - floor), evenly, density)
    return [*sizes[:first], *(n - round(share * n) for n in evenly), *last]


def erk(shapes: Shapes, density: float) -> list[int]:
    """``erk_counts`` of ``round(d n)`` weights."""
    return erk_counts(shapes, round(density * sum(_sizes(shapes))))


def erk_weights(shapes: Shapes) -> np.ndarray:
    """``sum(shape_l)``: in proportion to it layers share the kept weights under
    Erdos-Renyi-Kernel (Evci et al., arXiv 1911.11134).

    >>> erk_weights([(3, 3, 1, 4), (10, 20)]).tolist()
    [11.0, 30.0]
    """
    return np.array([sum(s) for s in shapes], float)


def erk_counts(shapes: Shapes, total_kept: int) -> list[int]:
    """Kept weights per layer under Erdos-Renyi-Kernel: density_l ~ sum(shape_l) / prod(shape_l).

    Layers that would exceed density 1 are kept whole and the rest share what is left
    (Evci et al., arXiv 1911.11134). The counts sum to ``total_kept`` exactly.
    """
    sizes = np.array(_sizes(shapes), float)
    weights = erk_weights(shapes)
    full = np.zeros(len(shapes), bool)
    while True:
        budget = total_kept - sizes[full].sum()
        wanted = np.where(full, sizes, budget * weights / max(weights[~full].sum(), 1e-300))
        newly = ~full & (wanted > sizes)
        if not newly.any():
            break
        full |= newly
    counts = np.floor(wanted).astype(int)
    room = counts < sizes
    order = np.argsort(-(wanted - counts) * room, kind="stable")
    counts[order[: total_kept - counts.sum()]] += 1
    return counts.tolist()


def erk_rounded(shapes: Shapes, density: float) -> list[int]:
    """Erdos-Renyi-Kernel as the code of LAMP (arXiv 2010.07611) rounds it, each layer by itself.

    Of the layers whose rounded count exceeds their size, the one with the largest ratio is kept
    whole, and the rest share what is left, until none does. The sum misses ``d n`` by up to half a
    weight a layer.

    >>> erk_rounded([(3, 3, 1, 4), (10, 20), (20, 5)], 0.25), erk([(10, 20), (20, 5)], 0.25)
    ([14, 38, 32], [41, 34])
    """
    sizes = np.array(_sizes(shapes), float)
    weights = erk_weights(shapes)
    whole = np.zeros(len(shapes), bool)
    while not whole.all():
        budget = density * sizes.sum() - sizes[whole].sum()
        counts = np.where(whole, sizes, np.round(budget * weights / weights[~whole].sum()))
        ratios = np.where(whole, 0.0, counts / sizes)
        if ratios.max() <= 1:
            return counts.astype(int).tolist()
        whole[ratios.argmax()] = True
    return sizes.astype(int).tolist()


ALLOCATIONS: dict[str, Allocation] = {
    "layer": layer,
    "uniform": uniform,
    "uniform_plus": uniform_plus,
    "erk": erk,
    "erk_rounded": erk_rounded,
}


def _sizes(shapes: Shapes) -> list[int]:
    return [int(np.prod(s)) for s in shapes]


def _share(pruned: int, sizes: Sequence[int], density: float) -> float:
    """The fraction of ``sizes`` that ``pruned`` weights are."""
    if pruned > sum(sizes):
        raise ValueError(
            f"density {density:g} is too low for scope 'uniform_plus', which keeps all of a first "
            f"convolution and {LAST_LAYER_FLOOR:.0%} of the last layer"
        )
    return pruned / max(sum(sizes), 1)
