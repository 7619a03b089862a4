"""Masks: boolean trees outside the network. The pruned network is ``apply(params * mask)``.

Convolution and linear kernels are prunable; biases, batch norm and everything else are not.
``density`` is always kept / total over the prunable weights.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.types import Key, Mask, Params, Scores

Path = tuple[str, ...]


def path_of(key_path) -> Path:
    """The plain names along a jax key path: ``('blocks_0', 'conv1', 'kernel')``."""
    return tuple(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in key_path)


def name_of(key_path) -> str:
    """The readable name of a leaf: ``'blocks_0/conv1/kernel'``."""
    return "/".join(path_of(key_path))


def is_kernel(path: Path) -> bool:
    """Whether a leaf may be pruned: it is called ``kernel`` (linen's Dense and Conv)."""
    return path[-1] == "kernel"


def prunable(params: Params) -> Params:
    """A tree of Python bools: which leaves may be pruned.

    >>> prunable({"fc": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}})
    {'fc': {'bias': False, 'kernel': True}}
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: is_kernel(path_of(path)), params)


def ones_like(params: Params) -> Mask:
    """The mask that keeps everything."""
    return jax.tree.map(lambda p: jnp.ones(p.shape, bool), params)


def apply(params: Params, mask: Mask) -> Params:
    """``params * mask``; differentiable in both when ``mask`` is a float copy."""
    return jax.tree.map(lambda p, m: p * m.astype(p.dtype), params, mask)


def as_float(mask: Mask, params: Params) -> Params:
    """A copy of ``mask`` in the dtypes of ``params``, to differentiate with respect to."""
    return jax.tree.map(lambda m, p: m.astype(p.dtype), mask, params)


def only_prunable(tree: Params) -> Params:
    """``tree`` with zeros at the leaves that are not prunable."""
    return jax.tree.map(lambda t, p: t if p else jnp.zeros_like(t), tree, prunable(tree))


def leaves(tree: Params) -> list[tuple[str, jax.Array]]:
    """``(name, leaf)`` of the prunable leaves, in the order of the tree."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(name_of(path), leaf) for path, leaf in flat if is_kernel(path_of(path))]


def check(params: Params, mask: Mask) -> None:
    """Raise ValueError unless ``mask`` is boolean with exactly the structure of ``params``."""
    if jax.tree.structure(params) != jax.tree.structure(mask):
        raise ValueError(
            "the mask does not have the tree structure of the parameters: "
            f"{jax.tree.structure(mask)} against {jax.tree.structure(params)}"
        )
    for (path, p), m in zip(
        jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(mask), strict=True
    ):
        if m.shape != p.shape or m.dtype != bool:
            raise ValueError(
                f"mask of {name_of(path)}: expected bool {p.shape}, got {m.dtype} {m.shape}"
            )


def layer_counts(mask: Mask) -> dict[str, tuple[int, int]]:
    """``{layer: (kept, total)}`` over the prunable leaves."""
    return {name: (int(np.asarray(m).sum()), int(m.size)) for name, m in leaves(mask)}


def layer_densities(mask: Mask) -> dict[str, float]:
    """``{layer: kept / total}`` over the prunable leaves."""
    return {name: kept / total for name, (kept, total) in layer_counts(mask).items()}


def density(mask: Mask) -> float:
    """Kept / total over all prunable weights.

    >>> density({"kernel": np.array([True, False, False, True]), "bias": np.array([True])})
    0.5
    """
    counts = layer_counts(mask).values()
    return sum(kept for kept, _ in counts) / sum(total for _, total in counts)


def _top(scores: np.ndarray, kept: np.ndarray, k: int) -> np.ndarray:
    """Bool [N]: the ``k`` largest of ``scores`` among ``kept``; ties go to the lower index."""
    result = np.zeros(scores.size, bool)
    if k == 0:
        return result
    alive = np.flatnonzero(kept)
    values = scores[alive]
    threshold = np.partition(values, values.size - k)[values.size - k]
    above = values > threshold
    ties = np.flatnonzero(values == threshold)[: k - int(above.sum())]
    result[alive[above]] = True
    result[alive[ties]] = True
    return result


def erk_counts(shapes: list[tuple[int, ...]], total_kept: int) -> list[int]:
    """Kept weights per layer under Erdos-Renyi-Kernel: density_l ~ sum(shape_l) / prod(shape_l).

    Layers that would exceed density 1 are kept whole and the rest share what is left
    (Evci et al., arXiv 1911.11134). The counts sum to ``total_kept`` exactly.
    """
    sizes = np.array([np.prod(s) for s in shapes], float)
    weights = np.array([sum(s) for s in shapes], float)
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


SCOPES = ("global", "layer", "erk")


def keep_top(scores: Scores, mask: Mask, density: float, scope: str = "global") -> Mask:
    """Keep exactly ``round(density * n)`` prunable weights by score; pruned ones never return.

    ``scope="global"`` ranks all layers together; ``"layer"`` keeps ``round(density * n_l)`` in
    every layer; ``"erk"`` shares the global number over the layers by Erdos-Renyi-Kernel. Ties go
    to the lower index. Runs on the host with an O(n) selection.

    Raises ValueError for a density outside (0, 1], an unknown scope, or more weights asked for
    than are left; FloatingPointError, naming the layer, for a non-finite score of a kept weight.

    >>> tree = {"kernel": np.array([3.0, 1.0, 2.0, 2.0])}
    >>> keep_top(tree, {"kernel": np.ones(4, bool)}, 0.5)["kernel"].tolist()
    [True, False, True, False]
    """
    if not 0.0 < density <= 1.0:
        raise ValueError(f"density must lie in (0, 1], got {density}")
    if scope not in SCOPES:
        raise ValueError(f"unknown scope {scope!r}; choose one of {', '.join(SCOPES)}")
    names, values = zip(*((n, np.asarray(s)) for n, s in leaves(scores)), strict=True)
    kept = [np.asarray(m).ravel() for _, m in leaves(mask)]
    for name, v, m in zip(names, values, kept, strict=True):
        bad = int((~np.isfinite(v.ravel()[m])).sum())
        if bad:
            raise FloatingPointError(f"{bad} of {m.sum()} scores of {name} are not finite")
    sizes = [v.size for v in values]
    if scope == "global":
        new = _top_in_groups(values, kept, [round(density * sum(sizes))], merge=True)
    else:
        counts = (
            [round(density * n) for n in sizes]
            if scope == "layer"
            else erk_counts([v.shape for v in values], round(density * sum(sizes)))
        )
        new = _top_in_groups(values, kept, counts, merge=False)
    return _replace_prunable(mask, new)


def _top_in_groups(values, kept, counts, *, merge):
    """Select in each array, or in all of them taken as one (``merge``)."""
    shapes, sizes = [v.shape for v in values], [v.size for v in values]
    flat = [v.ravel() for v in values]
    if merge:
        flat, kept = [np.concatenate(flat)], [np.concatenate(kept)]
    for v, m, k in zip(flat, kept, counts, strict=True):
        if k > m.sum():
            raise ValueError(f"cannot keep {k} of {v.size} weights: only {m.sum()} are left")
    chosen = np.concatenate([_top(v, m, k) for v, m, k in zip(flat, kept, counts, strict=True)])
    parts = np.split(chosen, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def _replace_prunable(mask: Mask, new: list[np.ndarray]) -> Mask:
    """``mask`` with its prunable leaves, in order, replaced by ``new``."""
    fresh = iter(new)
    return jax.tree.map(lambda m, p: jnp.asarray(next(fresh)) if p else m, mask, prunable(mask))


def shuffle(key: Key, mask: Mask) -> Mask:
    """Permute each prunable layer's mask at random: same counts per layer, other positions."""
    layers = leaves(mask)
    keys = jax.random.split(key, len(layers))
    permuted = [
        np.asarray(jax.random.permutation(k, m.ravel())).reshape(m.shape)
        for k, (_, m) in zip(keys, layers, strict=True)
    ]
    return _replace_prunable(mask, permuted)
