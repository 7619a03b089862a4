"""Pretrained weights: PyTorch's logits from PyTorch's tensors, and every name accounted for."""

import argparse
import functools
import json
import os
import re
import sys
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ntk_prune.interop import pretrained
from ntk_prune.interop.torch_layout import from_torch, imagenet_resnet_name
from ntk_prune.models import clip_resnet, deeplab, imagenet_resnet, mlp

GOLDEN = Path(__file__).parent.parent / "golden" / "logits"
NETWORKS = {
    "torchvision_resnet18_small": imagenet_resnet(18, "3x3", 4, 7),
    "torchvision_resnet50": imagenet_resnet(50, "7x7", 2, 7),
    "clip_resnet50": clip_resnet(50, 2, 7),
    "deeplab_resnet50_stride8": deeplab(50, 2, 8, 7),
    "deeplab_resnet18_stride16": deeplab(18, 2, 16, 7),
}
SMALL = "torchvision_resnet18_small"


@functools.cache
def golden(name):
    """``(tensors by PyTorch name, x [B, H, W, C], logits)`` of a file, in float64."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        arrays = dict(file)
    shapes = [tuple(map(int, shape.split())) for shape in arrays["shapes"]]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    values = np.split(arrays["values"].astype(np.float64), ends[:-1])
    tensors = {
        str(n): v.reshape(s) for n, v, s in zip(arrays["names"], values, shapes, strict=True)
    }
    return tensors, arrays["x"].astype(np.float64).transpose(0, 2, 3, 1), arrays["logits"]


def shapes_of(name):
    return jax.eval_shape(NETWORKS[name].init, jax.random.key(0), golden(name)[1])


def torch_name(module):
    """Names of the file: torchvision's in the backbone, our own with dots after it."""
    inside = imagenet_resnet_name(module)
    if module.startswith("backbone/") and "deeplab" in torch_name.network:
        return f"backbone.{inside}"
    return inside.replace("/", ".")


def filled(name):
    """``(params, state)`` with all tensors of the file, float64."""
    torch_name.network = name
    return from_torch(golden(name)[0], *shapes_of(name), torch_name)


def zeros(name):
    return jax.tree.map(lambda a: np.zeros(a.shape, np.float32), shapes_of(name))


def backbone(name):
    """The file's backbone under torchvision's names, float32."""
    tensors = {n.removeprefix("backbone."): t for n, t in golden(name)[0].items()}
    outside = ("fc.", "aspp.", "low_", "decoder_", "classifier.")
    return {n: t.astype(np.float32) for n, t in tensors.items() if not n.startswith(outside)}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_those_of_pytorch(name):
    _, x, expected = golden(name)
    with jax.enable_x64(True):
        params, state = filled(name)
        apply = jax.jit(functools.partial(NETWORKS[name].apply, train=False))
        logits = np.asarray(apply(params, state, jnp.asarray(x))[0])
    if logits.ndim == 4:
        logits = logits.transpose(0, 3, 1, 2)
    assert np.abs(logits - expected).max() <= 1e-12 * np.abs(expected).max()


RENAMED = {
    "torchvision": lambda n: n,
    "timm": lambda n: f"module.{n}",
    "moco_v2": lambda n: f"module.encoder_q.{n}",
    "dino": lambda n: f"module.backbone.{n}",
    "clip": lambda n: f"visual.{n}",
}
BESIDE = {
    "torchvision": ("fc.weight", "fc.bias", "bn1.num_batches_tracked"),
    "timm": ("module.fc.weight", "module.fc.bias"),
    "moco_v2": (
        "module.encoder_q.fc.0.weight",
        "module.encoder_q.fc.2.bias",
        "module.encoder_k.conv1.weight",
        "module.encoder_k.fc.2.weight",
        "module.queue",
        "module.queue_ptr",
    ),
    "dino": ("module.head.mlp.0.weight", "module.head.last_layer.weight_g"),
    "clip": (
        "visual.attnpool.k_proj.weight",
        "visual.attnpool.positional_embedding",
        "transformer.resblocks.0.attn.in_proj_weight",
        "token_embedding.weight",
        "positional_embedding",
        "ln_final.bias",
        "text_projection",
        "logit_scale",
        "context_length",
    ),
}


def published(source, name=SMALL):
    """The backbone of a golden file as ``source`` would publish it."""
    tensors = {RENAMED[source](n): t for n, t in backbone(name).items()}
    return tensors | {n: np.ones(3, np.float32) for n in BESIDE[source]}


@pytest.mark.parametrize("source", pretrained.SOURCES)
@pytest.mark.parametrize("name", [SMALL, "deeplab_resnet18_stride16", "clip_resnet50"])
def test_every_source_fills_the_backbone_alone(source, name, tmp_path):
    save_file(published(source, name), tmp_path / "weights.safetensors")
    params, state = zeros(name)
    loaded = pretrained.load(tmp_path / "weights.safetensors", source, params, state)
    expected = filled(name)
    taken = (loaded[0]["backbone"], loaded[1]["batch_stats"]["backbone"])
    wanted = (expected[0]["backbone"], expected[1]["batch_stats"]["backbone"])
    jax.tree.map(np.testing.assert_array_equal, taken, wanted)
    assert jax.tree.structure(loaded) == jax.tree.structure((params, state))
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype("float32")}
    for part in params.keys() - {"backbone"}:
        assert not any(leaf.any() for leaf in jax.tree.leaves(loaded[0][part])), part


def test_bare_backbones_of_dino_load_too(tmp_path):
    save_file(backbone(SMALL), tmp_path / "dino.safetensors")
    bare, _ = pretrained.load(tmp_path / "dino.safetensors", "dino", *zeros(SMALL))
    kernel = backbone(SMALL)["conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(bare["backbone"]["conv1"]["kernel"], kernel)


def test_the_head_comes_along_when_asked_for(tmp_path):
    tensors, x, expected = golden(SMALL)
    save_file({n: t.astype(np.float32) for n, t in tensors.items()}, tmp_path / "w.safetensors")
    loaded = pretrained.load(tmp_path / "w.safetensors", "timm", *zeros(SMALL), keep_head=True)
    logits, _ = jax.jit(functools.partial(NETWORKS[SMALL].apply, train=False))(*loaded, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    tensors = published("torchvision")
    del tensors["layer3.1.bn2.running_var"]
    tensors["layer5.weight"] = np.ones(1, np.float32)
    tensors["conv1.weight"] = np.ones((4, 1, 3, 3), np.float32)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"w\.safetensors as torchvision") as caught:
        pretrained.load(tmp_path / "w.safetensors", "torchvision", *zeros(SMALL))
    message = str(caught.value)
    assert "missing: layer3.1.bn2.running_var" in message
    assert "not used: layer5.weight" in message
    assert "conv1.weight: shape (4, 1, 3, 3) does not fit a layer of shape (3, 3, 3, 4)" in message
    assert "\n" not in message


def test_another_network_is_one_short_line(tmp_path):
    tensors = published("torchvision")
    dropped = [n for n in tensors if n.startswith("layer4")]
    kept = {n: t for n, t in tensors.items() if n not in dropped}
    save_file(kept, tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match=f"and {len(dropped) - 10} more; a file of another"
    ) as caught:
        pretrained.load(tmp_path / "w.safetensors", "torchvision", *zeros(SMALL))
    assert len(str(caught.value)) < 700


def test_weights_that_are_not_finite_are_refused(tmp_path):
    tensors = published("torchvision")
    tensors["layer1.0.bn1.running_var"] = tensors["layer1.0.bn1.running_var"] * np.nan
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"layer1\.0\.bn1\.running_var: not finite"):
        pretrained.load(tmp_path / "w.safetensors", "torchvision", *zeros(SMALL))


@pytest.mark.parametrize(
    ("beside", "source"),
    [
        ("module.encoder_q.fc.1.weight", "moco_v2"),
        ("visual.proj", "clip"),
        ("head.weight", "torchvision"),
        ("linear.weight", "dino"),
    ],
)
def test_nothing_is_left_out_silently(beside, source, tmp_path):
    save_file(published(source) | {beside: np.ones(1, np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=f": not used: {re.escape(beside)};"):
        pretrained.load(tmp_path / "w.safetensors", source, *zeros(SMALL))


def test_bad_arguments(tmp_path):
    path = tmp_path / "w.safetensors"
    params, state = zeros(SMALL)
    with pytest.raises(ValueError, match="unknown source 'mocov2'; choose one of torchvision"):
        pretrained.load(path, "mocov2", params, state)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*w\.safetensors"):
        pretrained.load(path, "moco_v2", params, state)
    with pytest.raises(ValueError, match="no head to keep from moco_v2"):
        pretrained.load(path, "moco_v2", params, state, keep_head=True)
    network = mlp((4,), 3).init(jax.random.key(0), jnp.ones((1, 2)))
    with pytest.raises(ValueError, match="no backbone to fill"):
        pretrained.load(path, "timm", *network)
    save_file(published("torchvision"), path)
    with pytest.raises(
        ValueError, match=r"as clip: no backbone there: its names are those of torch"
    ):
        pretrained.load(path, "clip", params, state)
    save_file({"stem.weight": np.ones(1, np.float32)}, path)
    with pytest.raises(ValueError, match=r"no backbone there: it has stem\.weight"):
        pretrained.load(path, "clip", params, state)
    path.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    with pytest.raises(ValueError, match=r"w\.safetensors: not a safetensors file"):
        pretrained.read(path)
    path.rename(tmp_path / "w.h5")
    with pytest.raises(ValueError, match=r"w\.h5: expected a name ending in \.safetensors"):
        pretrained.read(tmp_path / "w.h5")


def test_without_pytorch_one_line_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "w.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'ntk_prune\[torch\]'"):
        pretrained.read(tmp_path / "w.pth")


def tensors_of(torch, arrays):
    return {n: torch.from_numpy(np.array(a)) for n, a in arrays.items()}


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "teacher", "student"])
def test_pytorch_files(wrapper, tmp_path):
    torch = pytest.importorskip("torch")
    content = tensors_of(torch, published("dino"))
    if wrapper:
        arguments = argparse.Namespace(arch="resnet18", lr=0.1)
        content = {"epoch": 3, "args": arguments, wrapper: content}
    torch.save(content, tmp_path / "w.pth")
    loaded, _ = pretrained.load(tmp_path / "w.pth", "dino", *zeros(SMALL))
    expected, _ = filled(SMALL)
    jax.tree.map(np.testing.assert_array_equal, loaded["backbone"], expected["backbone"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int64"])
def test_pytorch_types(dtype, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2, dtype=getattr(torch, dtype))}, tmp_path / "w.pt")
    a = pretrained.read(tmp_path / "w.pt")["a"]
    assert a.dtype == (dtype if "64" in dtype else "float32")
    np.testing.assert_array_equal(a, 1)


class Malicious:
    """Would make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_runs_code_is_refused(legacy, tmp_path):
    torch = pytest.importorskip("torch")
    content = {"state_dict": {"a": torch.ones(2)}, "extra": Malicious(tmp_path / "owned")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match=r"w\.pth: pickled objects other than tensors") as caught:
        pretrained.read(tmp_path / "w.pth")
    assert not (tmp_path / "owned").exists()
    assert "\n" not in str(caught.value)


def test_torchscript_and_other_contents_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "RN50.pt")
    with pytest.raises(ValueError, match=r"RN50\.pt: a TorchScript program.*torch\.jit\.load"):
        pretrained.read(tmp_path / "RN50.pt")
    torch.save({"net": {"a": torch.ones(1)}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"bare or under one of .*no tensor: net, epoch"):
        pretrained.read(tmp_path / "w.pth")
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(ValueError, match="no tensor: the whole"):
        pretrained.read(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(ValueError, match=r"w\.pth: not a PyTorch file: neither"):
        pretrained.read(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match=r"w\.pth: "):
        pretrained.read(tmp_path / "w.pth")


def test_parameters_of_a_module_are_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 3).state_dict(keep_vars=True), tmp_path / "w.pth")
    assert {n: a.shape for n, a in pretrained.read(tmp_path / "w.pth").items()} == {
        "weight": (3, 2),
        "bias": (3,),
    }


@pytest.mark.parametrize("wrapped", ["_orig_mod.", "model.", "module._orig_mod.", "model.module."])
@pytest.mark.parametrize("source", pretrained.SOURCES)
def test_what_wraps_a_network_is_taken_off_its_names(wrapped, source, tmp_path):
    tensors = {wrapped + n.removeprefix("module."): t for n, t in published(source).items()}
    save_file(tensors, tmp_path / "w.safetensors")
    loaded, _ = pretrained.load(tmp_path / "w.safetensors", source, *zeros(SMALL))
    jax.tree.map(np.testing.assert_array_equal, loaded["backbone"], filled(SMALL)[0]["backbone"])


def test_names_that_are_wrapped_in_part_are_named(tmp_path):
    tensors = {f"module.{n}" if "layer4" in n else n: t for n, t in backbone(SMALL).items()}
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"missing: layer4.*not used: module\.layer4"):
        pretrained.load(tmp_path / "w.safetensors", "timm", *zeros(SMALL))


@pytest.mark.parametrize("dtype", ["complex64", "bool", "int32"])
def test_weights_that_are_no_real_numbers_are_refused(dtype, tmp_path):
    tensors = published("torchvision")
    tensors["conv1.weight"] = tensors["conv1.weight"].astype(dtype)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=f"conv1.weight: {dtype} numbers, where real ones"):
        pretrained.load(tmp_path / "w.safetensors", "torchvision", *zeros(SMALL))


def test_eight_bit_numbers_of_safetensors_are_one_line(tmp_path):
    about = {"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    header = json.dumps(about).encode()
    content = len(header).to_bytes(8, "little") + header + b"\x38" * 4
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.safetensors: numbers of a type that is not read"):
        pretrained.read(tmp_path / "w.safetensors")


def test_tensors_that_are_no_plain_arrays_are_one_line(tmp_path):
    torch = pytest.importorskip("torch")
    for content, message in (
        ({"a": torch.eye(2).to_sparse()}, "a is no plain array"),
        ({"a": torch.ones(3, device="meta")}, "a is no plain array"),
        ({1: torch.ones(3)}, "no tensor: 1"),
    ):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=rf"w\.pth: .*{message}"):
            pretrained.read(tmp_path / "w.pth")


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(ValueError, match=r"bomb\.pth: not a PyTorch file: its members are compre"):
        pretrained.read(tmp_path / "bomb.pth")
