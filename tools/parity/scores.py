"""Files of pruning criteria: logits, scores, counts and kernels of one network."""

import functools
import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import masks
from ntk_prune.ntk import empirical_ntk
from ntk_prune.pruners import PRUNERS
from ntk_prune.pruners.ntksap import redraw
from ntk_prune.pruners.ntksap import saliency as ntksap_saliency
from ntk_prune.pruners.px import saliency as px_saliency
from ntk_prune.pruners.synflow import saliency as synflow_saliency
from ntk_prune.pruners.synflow_l2 import saliency as synflow_l2_saliency
from ntk_prune.types import Batch, Mask, Params
from tools.parity.files import Arrays, Jobs, Pairs, quantity_of
from tools.parity.networks import Reference, rebuild

EPSILON = 0.01  # what the files' perturbations are multiplied with


@functools.partial(jax.jit, static_argnames=("model", "train"))
def _outputs(model, params, state, x, train):
    return model.apply(params, state, x, train=train)[0]


_synflow = jax.jit(synflow_saliency, static_argnames=("model", "batch_norm"))
_ntksap = jax.jit(ntksap_saliency, static_argnames=("model", "estimator"))


def logits(reference: Reference, *, name: str, train: bool) -> Pairs:
    """The outputs [B, C] of the masked network."""
    pruned = masks.apply(reference.params, reference.mask)
    ours = _outputs(reference.model, pruned, reference.state, reference.images("x"), train)
    return [(np.asarray(ours), reference.arrays[name])]


def layerwise(reference: Reference, scores: Params, name: str) -> Pairs:
    """Each prunable layer of ``scores`` beside the file's."""
    expected = reference.kernels(name)
    return [(np.asarray(s), expected[layer]) for layer, s in masks.leaves(scores)]


def pruner_score(reference: Reference, *, name: str, pruner: str) -> Pairs:
    """A score on the file's one batch, as the pruner computes it."""
    batches = Batch(reference.images("x")[None], jnp.asarray(reference.arrays["y"])[None])
    r = reference
    score = PRUNERS[pruner]().score
    scores = score(jax.random.key(0), r.model, r.params, r.state, r.mask, batches)
    return layerwise(reference, scores, name)


def synflow_score(reference: Reference) -> Pairs:
    """SynFlow's score before its normalisation."""
    r = reference
    ones = jnp.ones_like(r.images("x")[:1])
    return layerwise(r, _synflow(r.model, r.params, r.state, r.mask, ones), "synflow")


def synflow_l2_score(reference: Reference) -> Pairs:
    """SynFlow-L2's score before its normalisation, by the rule of the published code."""
    r = reference
    example = r.images("x")[:1]
    scores = synflow_l2_saliency(r.model, r.params, r.state, r.mask, example, "published")
    return layerwise(r, scores, "synflow_l2")


def px_score(reference: Reference) -> Pairs:
    """PX's score before its normalisation."""
    r = reference
    batches = r.images("x")[None]
    return layerwise(r, px_saliency(r.model, r.params, r.state, r.mask, batches), "px")


def ntksap_score(reference: Reference) -> Pairs:
    """NTK-SAP's score over the recorded draws of weights, inputs and perturbations.

    The published code copies the network before it redraws the weights, so the perturbed network of
    a file keeps the file's batch norm scale and shift where the other has 1 and 0. In a fresh
    network these are the same; here the difference goes with the perturbation.
    """
    r = reference
    initial = jax.tree_util.tree_map_with_path(_initial_value, r.params)
    zeros = jax.tree.map(np.zeros_like, r.params)
    sums = zeros
    draws = sum(key.startswith("ntksap_input_") for key in r.arrays)
    for i in range(draws):
        weights = redraw(r.params, r.tree(f"ntksap_weights_{i}", initial))
        copied = redraw(r.params, r.tree(f"ntksap_weights_{i}", r.params))
        perturbation = r.tree(f"ntksap_delta_{i}", zeros)
        delta = jax.tree.map(lambda c, p, w: c + EPSILON * p - w, copied, perturbation, weights)
        z = r.images(f"ntksap_input_{i}")
        saliencies = jax.device_get(_ntksap(r.model, weights, r.state, r.mask, z, delta))
        sums = jax.tree.map(np.add, sums, saliencies)
    return layerwise(r, jax.tree.map(lambda s, m: np.abs(s) * m, sums, r.mask), "ntksap")


def _initial_value(path, leaf: np.ndarray) -> np.ndarray:
    """Batch norm's parameters before training: scale 1, shift 0."""
    return np.ones_like(leaf) if masks.path_of(path)[-1] == "scale" else np.zeros_like(leaf)


def magnitude_counts(reference: Reference, *, name: str) -> Pairs:
    """Weights per layer, in the file's order, that magnitude pruning keeps of the dense network.

    The files round the number of pruned weights down: ``n - int((1 - d) n)`` are kept.
    """
    r = reference
    scope, density = name.removeprefix("mag_keep_").split("_")
    scores = jax.tree.map(np.abs, r.params)
    dense = masks.ones_like(r.params)
    if scope == "global":
        counts = _counts(scores, dense, float(density))
    else:
        layers = zip(masks.leaves(scores), masks.leaves(dense), strict=True)
        counts = {
            name: _counts({"kernel": s}, {"kernel": m}, float(density))["kernel"]
            for (name, s), (_, m) in layers
        }
    by_torch_name = {r.torch_names[layer]: kept for layer, kept in counts.items()}
    ours = np.array([by_torch_name[str(theirs)] for theirs in r.arrays["prunable"]])
    return [(ours, r.arrays[name])]


def _counts(scores: Params, mask: Mask, density: float) -> dict[str, int]:
    n = sum(total for _, total in masks.layer_counts(mask).values())
    kept = n - int((1 - density) * n)
    pruned = masks.keep_top(scores, mask, kept / n)
    return {name: kept for name, (kept, _) in masks.layer_counts(pruned).items()}


def kernel_matrix(reference: Reference, *, name: str) -> Pairs:
    """The empirical NTK [b, b, C, C] of the first inputs, running statistics."""
    expected = reference.arrays[name]
    return [(_kernel(reference, len(expected), name.removeprefix("ntk_")), expected)]


def kernel_eigenvalues(reference: Reference) -> Pairs:
    """The eigenvalues of the kernel in the prunable weights as one matrix, ascending."""
    b, _, c, _ = reference.arrays["ntk_prunable"].shape
    matrix = _kernel(reference, b, "prunable").transpose(0, 2, 1, 3).reshape(b * c, b * c)
    expected = np.sort(reference.arrays["ntk_eigs_prunable"])
    return [(np.linalg.eigvalsh(matrix), expected)]


def _kernel(r: Reference, count: int, wrt: str) -> np.ndarray:
    x, cpu = r.images("x")[:count], jax.devices("cpu")[:1]
    return empirical_ntk(r.model, r.params, x, state=r.state, mask=r.mask, wrt=wrt, devices=cpu)


QUANTITIES: dict[str, Callable[..., Pairs]] = {
    "logits": functools.partial(logits, name="logits", train=False),
    "logits_eval": functools.partial(logits, name="logits_eval", train=False),
    "logits_train": functools.partial(logits, name="logits_train", train=True),
    "mag": functools.partial(pruner_score, name="mag", pruner="magnitude"),
    "snip": functools.partial(pruner_score, name="snip", pruner="snip"),
    "itersnip": functools.partial(pruner_score, name="itersnip", pruner="itersnip"),
    "grasp": functools.partial(pruner_score, name="grasp", pruner="grasp"),
    "synflow": synflow_score,
    "synflow_l2": synflow_l2_score,
    "px": px_score,
    "ntksap": ntksap_score,
    "ntk_prunable": functools.partial(kernel_matrix, name="ntk_prunable"),
    "ntk_all": functools.partial(kernel_matrix, name="ntk_all"),
    "ntk_eigs_prunable": kernel_eigenvalues,
}
INPUTS = re.compile(r"meta|prunable|x|y|state/.*|mask/.*|ntksap_(weights|delta|input)_\d+(/.*)?")


def recognises(arrays: Arrays) -> bool:
    """Whether the file holds scores of a network."""
    return "prunable" in arrays


def jobs(arrays: Arrays, path: Path) -> Jobs:
    """One for each quantity, in the file's order."""
    del path
    reference = rebuild(arrays)
    names = dict.fromkeys(quantity_of(key) for key in arrays if not INPUTS.fullmatch(key))
    known = ((name, _computation(name)) for name in names)
    return [functools.partial(_named, reference, *pair) for pair in known if pair[1]]


def _named(reference: Reference, name: str, compute: Callable[..., Pairs]) -> dict[str, Pairs]:
    return {name: compute(reference)}


def _computation(name: str) -> Callable[..., Pairs] | None:
    if name.startswith("mag_keep_"):
        return functools.partial(magnitude_counts, name=name)
    return QUANTITIES.get(name)
