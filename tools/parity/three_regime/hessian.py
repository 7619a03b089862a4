"""Hessians of one masked network: ``<mode>/...`` under running and under batch statistics."""

import dataclasses
import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ntk_prune import linalg, masks
from ntk_prune.landscape import MaskedLoss
from ntk_prune.linalg import Eigenpairs, SymmetricOperator
from ntk_prune.types import Batch, BatchNormMode, Params
from tools.parity.files import Arrays, Jobs, Pairs
from tools.parity.three_regime.networks import PreResNets

INPUTS = re.compile(r"net/.*|mask/.*|param_order|seed|depth|width_k|channel_\w+|images_8x8|labels")
MODES: dict[str, BatchNormMode] = {"eval": "running", "train": "batch"}
NUM_STEPS = 40  # of Lanczos: enough for the top pair to be exact


def recognises(arrays: Arrays) -> bool:
    """Whether the file holds Hessians."""
    return "kept_index" in arrays


def jobs(arrays: Arrays, path: Path) -> Jobs:
    """The order of the coordinates, and one for each mode of batch norm."""
    del path
    file = PreResNets(arrays)
    return [
        functools.partial(kept_index, file),
        *(functools.partial(hessian, file, mode) for mode in MODES),
        *(functools.partial(matrix, file, mode) for mode in MODES if f"{mode}/trace" in arrays),
    ]


def kept_index(file: PreResNets) -> dict[str, Pairs]:
    """The kept coordinates in the file's order of parameters."""
    kept = np.sort(_positions(file, masked_loss(file, "eval")))
    return {"kept_index": [(kept, file.arrays["kept_index"])]}


def hessian(file: PreResNets, mode: str) -> dict[str, Pairs]:
    """Loss, gradient and the top of the Hessian, in all kept coordinates and in convolutions."""
    loss = masked_loss(file, mode)
    order = np.argsort(_positions(file, loss))  # of ours in the file
    value, gradient = loss.value_and_gradient()
    top = _top(loss)
    vector = np.asarray(top.vectors[:, 0])
    ours = {
        "loss": value,
        "grad": gradient[order],
        "top": top.values[0],
        "top_eigenvector": (vector * np.sign(vector[np.abs(vector).argmax()]))[order],
        "conv_only_top": _top(masked_loss(file, mode, _is_convolution(loss))).values[0],
    }
    return file.arrays.beside(ours, mode)


def matrix(file: PreResNets, mode: str) -> dict[str, Pairs]:
    """The whole Hessian, one product for each coordinate."""
    loss = masked_loss(file, mode)
    order = np.argsort(_positions(file, loss))
    dense = _compiled(loss.hessian()).dense()
    marked = jax.tree.map(jnp.multiply, masks.ones_like(loss.params), _is_convolution(loss))
    chosen = np.flatnonzero(loss.coordinates.vector(marked))
    block = dense[np.ix_(chosen, chosen)]
    ours = {
        "eigenvalues": np.linalg.eigvalsh(dense),
        "trace": np.trace(dense),
        "frobenius": np.linalg.norm(dense),
        "diagonal": np.diag(dense)[order],
        "conv_only_eigenvalues": np.linalg.eigvalsh(block),
        "conv_only_trace": np.trace(block),
    }
    return file.arrays.beside(ours, mode)


def _top(loss: MaskedLoss) -> Eigenpairs:
    key, operator = jax.random.key(0), _compiled(loss.hessian())
    return linalg.extreme_eigenpairs(key, operator, top=1, bottom=0, num_steps=NUM_STEPS).top


def _compiled(operator: SymmetricOperator) -> SymmetricOperator:
    """One program a product, where there are hundreds of them."""
    return dataclasses.replace(operator, matvec=jax.jit(operator.matvec))


def _is_convolution(loss: MaskedLoss) -> Params:
    return jax.tree.map(lambda p: p.ndim == 4, loss.params)


def masked_loss(file: PreResNets, mode: str, wrt: Params | str = "all") -> MaskedLoss:
    """The mean loss of the file's one batch."""
    batches = Batch(file.images()[None], jnp.asarray(file.arrays["labels"])[None])
    network = (file.model, *file.network("net"), file.mask())
    return MaskedLoss(*network, batches, batch_norm=MODES[mode], wrt=wrt)


def _positions(file: PreResNets, loss: MaskedLoss) -> np.ndarray:
    """Where each of our kept coordinates lies in the file's parameters, flattened and joined."""
    names = [f"net/{name}" for name in file.arrays["param_order"]]
    starts = np.cumsum([0, *(file.arrays[name].size for name in names)])
    counted = Arrays(
        {
            name: start + np.arange(file.arrays[name].size).reshape(file.arrays[name].shape)
            for name, start in zip(names, starts, strict=False)
        }
    )
    numbered = PreResNets(Arrays({**file.arrays, **counted})).params("net")
    return np.asarray(loss.coordinates.vector(numbered)).astype(int)
