"""The draws behind a reference file: recovers the tensors that it leaves out.

The published ResNets multiply every identity shortcut by a fixed scale per channel,
``blocks.i.shortcut.weight [C, 1, 1]``: ones in use, but drawn at random in the reference files,
which do not record it. All tensors of a file come from one ``numpy.random.RandomState(seed)`` in
the order of the network, so replaying the draws gives the missing ones, and has to give every
recorded tensor.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]

SEEDS = 10_000
_ROUNDING = 1e-6  # the files are float32


def shortcut_scales(tensors: Arrays) -> dict[str, np.ndarray]:
    """``{blocks.i.shortcut.weight: [C]}`` of the identity shortcuts; ones where no seed fits."""
    missing = {
        name.replace("bn2.running_var", "shortcut.weight"): np.ones(tensor.shape)
        for name, tensor in tensors.items()
        if name.endswith("bn2.running_var")
        and name.replace("bn2.running_var", "shortcut.0.weight") not in tensors
    }
    first = next(iter(tensors))
    for seed in range(SEEDS):
        random = np.random.RandomState(seed)
        if np.allclose(_draw(random, first, tensors[first].shape), tensors[first], atol=_ROUNDING):
            drawn = dict(_replay(seed, tensors, missing))
            if all(np.allclose(drawn[n], t, atol=_ROUNDING) for n, t in tensors.items()):
                return {name: drawn[name].reshape(-1).astype(np.float32) for name in missing}
    return missing


def _replay(seed: int, tensors: Arrays, missing: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor by name; an identity shortcut comes after its block's last batch norm."""
    random = np.random.RandomState(seed)
    for name, tensor in tensors.items():
        yield name, _draw(random, name, tensor.shape)
        scale = name.replace("bn2.running_var", "shortcut.weight")
        if scale in missing:
            yield scale, _draw(random, scale, (*missing[scale].shape, 1, 1))


def _draw(random: np.random.RandomState, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Kaiming normal kernels; batch norm near the identity; small biases."""
    if name.endswith("running_var"):
        return 0.5 + random.rand(*shape)
    normal = random.randn(*shape)
    if len(shape) > 1:
        return normal * math.sqrt(2 / math.prod(shape[1:]))
    if name.endswith("running_mean"):
        return 0.1 * normal
    return 0.05 * normal if name.endswith("bias") else 1 + 0.1 * normal
