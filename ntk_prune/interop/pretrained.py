"""Pretrained ImageNet ResNets from files: torchvision, timm, MoCo v2, DINO, CLIP.

>>> params, state = load("resnet50.pth", "torchvision", params, state)  # doctest: +SKIP

Nothing in a file is executed: .safetensors, or PyTorch files by ``weights_only``.
"""

import argparse
import dataclasses
import itertools
import os
import pickle
import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ntk_prune.interop.torch_layout import from_torch, imagenet_resnet_name
from ntk_prune.types import Params, State

PYTORCH = (".pth", ".pt", ".tar", ".bin", ".ckpt")
WRAPPERS = ("state_dict", "model", "teacher", "student")
"""Under which of a checkpoint's keys the tensors may lie; the first one counts."""

HINT = "a file of another network or publisher? See weights_source, and the network's options"


@dataclasses.dataclass(frozen=True)
class Source:
    """How a publisher's names differ from torchvision's.

    ``prefix``: pattern of what stands before the backbone's names. ``left_out``: pattern of the
    whole names that belong to no backbone. ``head``: whether those are a classifier's.
    """

    prefix: str
    left_out: str
    head: bool = False


WRAPPED = r"((_orig_mod|module|model)\.)*"
"""What compiling, training on several devices, and frameworks put before all names."""

_SUPERVISED = Source(WRAPPED, rf"{WRAPPED}fc\.(weight|bias)", head=True)

SOURCES: dict[str, Source] = {
    "torchvision": _SUPERVISED,
    "timm": _SUPERVISED,
    "moco_v2": Source(
        rf"{WRAPPED}encoder_q\.",
        rf"{WRAPPED}(encoder_q\.fc\.[02]\.(weight|bias)|encoder_k\..*|queue|queue_ptr)",
    ),
    "dino": Source(rf"{WRAPPED}(backbone\.)?", rf"{WRAPPED}head\..*"),
    "clip": Source(
        rf"{WRAPPED}visual\.",
        rf"{WRAPPED}(visual\.attnpool\..*|transformer\..*|token_embedding\.weight"
        r"|positional_embedding|ln_final\.(weight|bias)|text_projection|logit_scale"
        r"|input_resolution|context_length|vocab_size)",
    ),
}


def load(
    path: str | os.PathLike,
    source: str,
    params: Params,
    state: State,
    *,
    keep_head: bool = False,
) -> tuple[Params, State]:
    """``(params, state)`` with the backbone of the file; the rest stays as given.

    For ``imagenet_resnet``, ``clip_resnet`` (source clip) and ``deeplab``, in the types of
    ``params``. ``keep_head`` takes over the file's classifier ``fc`` too (torchvision and timm).

    Raises ValueError for an unknown source, a network without backbone, and, with their names, for
    missing, unused or misshapen tensors; and whatever ``read`` raises.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown source {source!r}; choose one of {', '.join(SOURCES)}")
    if "backbone" not in params:
        raise ValueError(
            "this network has no backbone to fill: pretrained weights fit imagenet_resnet, "
            "clip_resnet and deeplab"
        )
    if keep_head and not (SOURCES[source].head and "fc" in params):
        raise ValueError(f"there is no head to keep from {source} in this network: keep_head=False")
    parts = ("backbone", "fc") if keep_head else ("backbone",)
    tensors = read(path)
    if not keep_head:
        left_out = re.compile(SOURCES[source].left_out)
        tensors = {name: t for name, t in tensors.items() if not left_out.fullmatch(name)}
    wanted = {part: params[part] for part in parts}
    statistics = {"batch_stats": {"backbone": state["batch_stats"]["backbone"]}}
    try:
        prefix = _prefix(tensors, source)
        new_params, new_state = from_torch(
            tensors, wanted, statistics, lambda module: prefix + imagenet_resnet_name(module)
        )
    except ValueError as error:
        raise ValueError(f"{path} as {source}: {error}; {HINT}") from None
    return _replaced(params, new_params), _replaced(state, new_state)


def _prefix(names: Collection[str], source: str) -> str:
    """What stands before the backbone's names in a file: before its first kernel's name.

    >>> _prefix(["epoch", "module.encoder_q.conv1.weight"], "moco_v2")
    'module.encoder_q.'
    """
    matches = {
        publisher: match[1]
        for publisher, published in SOURCES.items()
        for name in names
        if (match := re.fullmatch(rf"({published.prefix})conv1\.weight", name))
    }
    if source in matches:
        return matches[source]
    first = ", ".join(itertools.islice(names, 3)) or "nothing"
    fits = f"its names are those of {' or '.join(matches)}" if matches else f"it has {first}, ..."
    raise ValueError(f"no backbone there: {fits}")


def _replaced(tree: Any, new: Any) -> Any:
    """``tree`` with the leaves that ``new`` has, in the types of ``tree``."""
    if not isinstance(tree, Mapping):
        return jnp.asarray(new, tree.dtype)
    return {k: _replaced(v, new[k]) if k in new else v for k, v in tree.items()}


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors or PyTorch file by name.

    Of a training checkpoint, those under the first of ``WRAPPERS`` that it has. Raises
    FileNotFoundError; ImportError where PyTorch is needed and missing; ValueError for a file that
    is neither, for TorchScript, and for pickles of anything but tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        if path.suffix in PYTORCH:
            return _state_dict(_read_torch(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    raise ValueError(f"{path}: expected a name ending in .safetensors, {', '.join(PYTORCH)}")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from None
    except (AttributeError, KeyError, TypeError) as error:  # of the 8-bit types that numpy lacks
        raise ValueError(f"numbers of a type that is not read ({error}): save float32") from None


def _read_torch(path: Path) -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            f"reading {path} needs PyTorch: pip install 'ntk_prune[torch]', or save it as "
            ".safetensors where PyTorch is"
        ) from None
    with open(path, "rb") as file:
        if file.read(2) not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
            raise ValueError("not a PyTorch file: neither a .zip archive nor a pickle")
    members = _members(path)
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise ValueError(
            "a TorchScript program, which is not run here; where you trust it, keep its tensors: "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'weights.pth')"
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        # It may grow to anything, and PyTorch writes none.
        raise ValueError("not a PyTorch file: its members are compressed")
    try:
        # Checkpoints often carry the arguments of their training: a bag of plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError:
        raise ValueError(
            "pickled objects other than tensors, which are not read; where you trust it, keep its "
            f"tensors: torch.save(torch.load({path.name!r}, weights_only=False)['state_dict'], "
            "'weights.pth')"
        ) from None
    except Exception as error:  # damaged bytes lead the reader to any of them
        raise ValueError(f"damaged, or not a PyTorch file: {_in_one_line(error)}") from None


def _members(path: Path) -> list[zipfile.ZipInfo]:
    """What a .zip archive holds; nothing for a pickle. ValueError for a damaged archive."""
    try:
        if not zipfile.is_zipfile(path):
            return []
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except Exception as error:  # as of ``torch.load``
        raise ValueError(f"a damaged .zip archive: {_in_one_line(error)}") from None


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _state_dict(content: Any) -> dict[str, np.ndarray]:
    """The tensors in what ``torch.load`` gave, as numpy arrays; half precision as float32."""
    if isinstance(content, Mapping):
        content = next((content[w] for w in WRAPPERS if w in content), content)
    tensors = dict(content) if isinstance(content, Mapping) else {"the whole": content}
    is_tensor = {n: isinstance(n, str) and hasattr(t, "numpy") for n, t in tensors.items()}
    if other := [str(name) for name, good in is_tensor.items() if not good]:
        raise ValueError(
            f"expected a dict of tensors, bare or under one of {', '.join(WRAPPERS)}; no tensor: "
            f"{', '.join(other[:5])}"
        )
    return {name: _to_numpy(name, tensor) for name, tensor in tensors.items()}


def _to_numpy(name: str, tensor: Any) -> np.ndarray:
    """The values of a tensor. ValueError for one that is sparse, quantised, nested or empty of
    values."""
    try:
        half = tensor.is_floating_point() and tensor.element_size() < 4
        return (tensor.float() if half else tensor).detach().numpy()
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name} is no plain array: {_in_one_line(error)}") from None
