"""How alike two networks are: ``<pair>/...`` of the networks in ``lmc.npz`` beside the file."""

import functools
import re
from pathlib import Path

import numpy as np

from ntk_prune import landscape
from tools.parity.files import Arrays, Jobs, Pairs, read
from tools.parity.three_regime.networks import PreResNets, in_batches

NETWORKS = "lmc.npz"
INPUTS = re.compile(r".*/num_images")
BIASED = ("cka_biased", "cka_float32", "own_biased")
UNBIASED = ("cka_debiased", "cka_debiased_featurespace", "own_unbiased")


def recognises(arrays: Arrays) -> bool:
    """Whether the file holds similarities of networks."""
    return any(name.endswith("/published_cka") for name in arrays)


def jobs(arrays: Arrays, path: Path) -> Jobs:
    """One for each pair of networks. Raises ValueError without the file of the networks."""
    try:
        networks = PreResNets(read(str(path.with_name(NETWORKS))))
    except FileNotFoundError:
        raise ValueError(f"the networks are in {NETWORKS}, which has to lie beside it") from None
    pairs = dict.fromkeys(name.split("/")[0] for name in arrays)
    return [functools.partial(similarity, arrays, networks, pair) for pair in pairs]


def similarity(arrays: Arrays, networks: PreResNets, pair: str) -> dict[str, Pairs]:
    """Outputs on the training images under the networks' own statistics; CKA on the first of them,
    as published."""
    size = int(networks.arrays["train_batch"])
    images = in_batches(networks.images("train_images_8x8"), size)
    a, b = (
        landscape.outputs(networks.model, networks.network(f"net{letter}"), images)
        for letter in pair
    )
    by_batch = zip(in_batches(a, size), in_batches(b, size), strict=True)
    first = slice(int(arrays[f"{pair}/num_images"]))
    ours = {
        "agreement": landscape.agreement(a, b),
        "js_divergence": landscape.jensen_shannon(a, b),
        "cosine": np.mean([landscape.cosine(*batch) for batch in by_batch]),
        **_cka("output", a[first], b[first]),
        **_cka("softmax", landscape.softmax(a[first]), landscape.softmax(b[first])),
    }
    ours["published_cka"] = ours["cka_biased_softmax"]
    return arrays.beside(ours, pair)


def _cka(kind: str, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray | float]:
    """The features and their CKA under all names that the file has for it."""
    biased, unbiased = landscape.linear_cka(x, y), landscape.linear_cka(x, y, unbiased=True)
    return {
        f"features1_{kind}": x,
        f"features2_{kind}": y,
        **{f"{name}_{kind}": biased for name in BIASED},
        **{f"{name}_{kind}": unbiased for name in UNBIASED},
    }
