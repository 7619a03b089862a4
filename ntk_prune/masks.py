"""Masks: boolean trees outside the network. The pruned network is ``apply(params * mask)``.

Convolution and linear kernels are prunable; biases, batch norm and everything else are not.
``density`` is always kept / total over the prunable weights. Functions that count or choose take
another predicate than ``is_kernel``, such as ``excluding(params, ["fc"])``.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune.allocation import ALLOCATIONS
from ntk_prune.types import Array, Key, Mask, Model, Params, Scores

Path = tuple[str, ...]
Prunable = Callable[[Path], bool]
"""Whether the leaf at a path may be pruned."""


def path_of(key_path) -> Path:
    """The plain names along a jax key path: ``('blocks_0', 'conv1', 'kernel')``."""
    return tuple(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in key_path)


def name_of(key_path) -> str:
    """The readable name of a leaf: ``'blocks_0/conv1/kernel'``."""
    return "/".join(path_of(key_path))


def is_kernel(path: Path) -> bool:
    """Whether a leaf may be pruned: it is called ``kernel`` (Dense, Linear and Conv of linen and,
    where a ``value`` may follow, of nnx)."""
    return _named(path)[-1:] == ("kernel",)


def parent(path: Path) -> Path:
    """The module of a leaf."""
    return _named(path)[:-1]


def _named(path: Path) -> Path:
    """The path without the ``value`` in which the variables of nnx end."""
    return path[:-1] if path[-1:] == ("value",) else path


def is_differentiable(leaf: Array) -> bool:
    """Whether a leaf holds real or complex numbers, and not integers, random keys or nothing."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def excluding(params: Params, modules: Sequence[str]) -> Prunable:
    """The predicate of all kernels but those under ``modules``, paths from the top: ``"fc"``.

    Raises ValueError for a module that holds no kernel of ``params``, or if no kernel is left.

    >>> which = excluding({"fc": {"kernel": 0}, "conv": {"kernel": 0}}, ["fc"])
    >>> which(("fc", "kernel")), which(("conv", "kernel"))
    (False, True)
    """
    prefixes = [tuple(module.split("/")) for module in modules]
    kernels = [path for path, _ in _flat(params) if is_kernel(path)]
    for prefix in prefixes:
        if not any(path[: len(prefix)] == prefix for path in kernels):
            raise ValueError(f"no weights to exclude lie under {'/'.join(prefix)!r}")

    def is_prunable(path: Path) -> bool:
        return is_kernel(path) and not any(path[: len(p)] == p for p in prefixes)

    if kernels and not any(map(is_prunable, kernels)):
        raise ValueError(f"nothing is left to prune without {', '.join(modules)}")
    return is_prunable


def prunable(params: Params, is_prunable: Prunable = is_kernel) -> Params:
    """A tree of Python bools: which leaves may be pruned.

    >>> prunable({"fc": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}})
    {'fc': {'bias': False, 'kernel': True}}
    """
    return jax.tree_util.tree_map_with_path(lambda path, _: is_prunable(path_of(path)), params)


def ones_like(params: Params) -> Mask:
    """The mask that keeps everything."""
    return jax.tree.map(lambda p: jnp.ones(p.shape, bool), params)


def apply(params: Params, mask: Mask) -> Params:
    """``params * mask``; differentiable in both when ``mask`` is a float copy. Leaves that are not
    real or complex numbers stay."""
    return jax.tree.map(
        lambda p, m: p * m.astype(p.dtype) if is_differentiable(p) else p, params, mask
    )


def as_float(mask: Mask, params: Params) -> Params:
    """A copy of ``mask`` in the dtypes of ``params``, to differentiate with respect to."""
    return jax.tree.map(lambda m, p: m.astype(p.dtype), mask, params)


def only_prunable(tree: Params) -> Params:
    """``tree`` with zeros at the leaves that are not prunable."""
    return jax.tree.map(lambda t, p: t if p else jnp.zeros_like(t), tree, prunable(tree))


def leaves(tree: Params, is_prunable: Prunable = is_kernel) -> list[tuple[str, jax.Array]]:
    """``(name, leaf)`` of the prunable leaves, in the order of the tree."""
    return [("/".join(path), leaf) for path, leaf in _flat(tree) if is_prunable(path)]


def _flat(tree: Params) -> list[tuple[Path, jax.Array]]:
    return [(path_of(p), leaf) for p, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]


def layers_by_depth(model: Model, x: Array) -> list[str]:
    """The names of the kernels in the order in which the network makes them for ``x [B, ...]``.

    jax sorts the keys of every tree that leaves it, so the order is read while ``init`` is traced.
    """
    names: list[str] = []

    def walk(tree: Params, path: Path) -> None:
        for key, value in tree.items():
            if isinstance(value, dict):
                walk(value, (*path, key))
            elif is_kernel((*path, key)):
                names.append("/".join((*path, key)))

    def trace(key: Key, x: Array) -> None:
        walk(model.init(key, x)[0], ())

    jax.eval_shape(trace, jax.random.key(0), x)
    return names


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


def layer_counts(mask: Mask, is_prunable: Prunable = is_kernel) -> dict[str, tuple[int, int]]:
    """``{layer: (kept, total)}`` over the prunable leaves."""
    return {name: (int(np.asarray(m).sum()), int(m.size)) for name, m in leaves(mask, is_prunable)}


def layer_densities(mask: Mask, is_prunable: Prunable = is_kernel) -> dict[str, float]:
    """``{layer: kept / total}`` over the prunable leaves."""
    return {name: kept / total for name, (kept, total) in layer_counts(mask, is_prunable).items()}


def density(mask: Mask, is_prunable: Prunable = is_kernel) -> float:
    """Kept / total over all prunable weights.

    >>> density({"kernel": np.array([True, False, False, True]), "bias": np.array([True])})
    0.5
    """
    counts = layer_counts(mask, is_prunable).values()
    if not counts:
        raise ValueError("no leaf is prunable (called `kernel`): there is no density")
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


SCOPES = ("global", *ALLOCATIONS)


def keep_top(
    scores: Scores,
    mask: Mask,
    density: float,
    scope: str = "global",
    is_prunable: Prunable = is_kernel,
    order: Sequence[str] | None = None,
) -> Mask:
    """Keep exactly ``round(density * n)`` prunable weights by score; pruned ones never return.

    ``scope="global"`` ranks all layers together. The others rank every layer alone, in which they
    keep as many as the rule of that name in ``ntk_prune.allocation`` says. Ties go to the lower
    index. Runs on the host with an O(n) selection.

    Args:
        scores: Larger = keep.
        mask: What is left so far.
        density: Kept / total over the prunable weights.
        scope: One of ``SCOPES``.
        is_prunable: Which leaves are ranked and counted; the others keep their mask.
        order: Names of the layers by depth, from ``layers_by_depth``, for ``"uniform_plus"``, to
            which first and last matter.

    Raises ValueError for a density outside (0, 1], an unknown scope, or more weights asked
    for than are left; FloatingPointError, naming the layer, for a non-finite score of a kept
    weight.

    >>> tree = {"kernel": np.array([3.0, 1.0, 2.0, 2.0])}
    >>> keep_top(tree, {"kernel": np.ones(4, bool)}, 0.5)["kernel"].tolist()
    [True, False, True, False]
    """
    if not 0.0 < density <= 1.0:
        raise ValueError(f"density must lie in (0, 1], got {density}")
    if scope not in SCOPES:
        raise ValueError(f"unknown scope {scope!r}; choose one of {', '.join(SCOPES)}")
    values = {n: np.asarray(s) for n, s in leaves(scores, is_prunable)}
    kept = [np.asarray(m).ravel() for _, m in leaves(mask, is_prunable)]
    for (name, v), m in zip(values.items(), kept, strict=True):
        bad = int((~np.isfinite(v.ravel()[m])).sum())
        if bad:
            raise FloatingPointError(f"{bad} of {m.sum()} scores of {name} are not finite")
    shapes = {name: v.shape for name, v in values.items()}
    if scope == "global":
        counts = [round(density * sum(v.size for v in values.values()))]
    else:
        counts = _layer_counts_of(scope, shapes, density, order)
    new = _top_in_groups(list(values.values()), kept, counts, merge=scope == "global")
    return _replace_prunable(mask, new, is_prunable)


def _layer_counts_of(scope, shapes, density, order):
    """The rule's counts in the order of ``shapes``, itself applied in that of ``order``."""
    if order is None:
        if scope == "uniform_plus":
            raise ValueError("scope 'uniform_plus' needs the order of the layers, layers_by_depth")
        order = shapes
    names = [name for name in order if name in shapes]
    by_depth = ALLOCATIONS[scope]([shapes[name] for name in names], density)
    counts = dict(zip(names, by_depth, strict=True))
    return [counts[name] for name in shapes]


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


def _replace_prunable(mask: Mask, new: list[np.ndarray], is_prunable: Prunable = is_kernel) -> Mask:
    """``mask`` with its prunable leaves, in order, replaced by ``new``."""
    fresh, replaced = iter(new), prunable(mask, is_prunable)
    return jax.tree.map(lambda m, p: jnp.asarray(next(fresh)) if p else m, mask, replaced)


def shuffle(key: Key, mask: Mask) -> Mask:
    """Permute each prunable layer's mask at random: same counts per layer, other positions."""
    layers = leaves(mask)
    keys = jax.random.split(key, len(layers))
    permuted = [
        np.asarray(jax.random.permutation(k, m.ravel())).reshape(m.shape)
        for k, (_, m) in zip(keys, layers, strict=True)
    ]
    return _replace_prunable(mask, permuted)
