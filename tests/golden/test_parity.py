"""Numbers of the published implementations, and how the comparison reports a bad file."""

from pathlib import Path

import numpy as np
import pytest

from tools.parity import __main__ as parity
from tools.parity.files import Arrays
from tools.parity.three_regime.networks import PreResNets

SCORES = Path(__file__).parent / "scores"
THREE_REGIME = Path(__file__).parent / "three_regime"
SMALL = SCORES / "px_mlp_dense.npz"
KNOWN = {
    "resnet20": {
        "logits_eval", "logits_train", "snip", "itersnip", "grasp", "synflow", "mag", "ntksap",
        "ntk_prunable", "ntk_all", "ntk_eigs_prunable",
        *(f"mag_keep_{scope}_{d}" for scope in ("global", "local") for d in (0.5, 0.1, 0.02)),
    },
    "px": {"logits", "synflow", "synflow_l2", "px"},
}  # fmt: skip


def lines(capsys) -> dict[tuple[str, str], float]:
    """``{(file, quantity): error}`` of what was printed."""
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "=" in line]
    return {(file, name): float(error.split("=")[1]) for file, name, error in rows}


@pytest.mark.parametrize("family", KNOWN)
def test_every_quantity_agrees(family, capsys):
    files = sorted(SCORES.glob(f"{family}*.npz"))
    assert len(files) >= 2
    assert parity.main([str(file) for file in files]) == 0
    errors = lines(capsys)
    for file in files:
        assert KNOWN[family] <= {name for f, name in errors if f == file.name}
    # The stored scores are float32: half an ulp of the layer's largest entry.
    assert max(errors.values()) < 1e-7


TOLERANCES = {"masks": 1e-12, "lmc": 1e-11, "cka": 1e-10, "sam": 1e-11, "hessian": 1e-8}


@pytest.mark.parametrize("name", TOLERANCES)
def test_every_quantity_of_the_three_regime_model_agrees(name, capsys):
    """In ``sam`` the first two of three steps and one case are left out of the reference, in
    ``hessian`` what takes as many products as there are weights."""
    assert parity.main([str(THREE_REGIME / f"{name}.npz")]) == 0
    out = capsys.readouterr()
    assert "unknown" not in out.out
    rounded = 1e-6  # published in float32
    for line in out.out.splitlines():
        _, quantity, error = line.split()
        tolerance = rounded if "float32" in quantity else TOLERANCES[name]
        assert float(error.split("=")[1]) <= tolerance, line


def altered(tmp_path, original=SMALL, **arrays) -> str:
    """A file with some arrays replaced; None removes one."""
    with np.load(original, allow_pickle=False) as file:
        contents = {**file, **arrays}
    path = tmp_path / "altered.npz"
    np.savez(path, **{k: v for k, v in contents.items() if v is not None})
    return str(path)


def test_a_file_without_results_is_one_line(tmp_path, capsys):
    with np.load(SMALL) as file:
        results = [name for name in file if name.partition("/")[0] in KNOWN["px"]]
    assert parity.main([altered(tmp_path, **dict.fromkeys(results))]) == 2
    assert "it holds nothing that can be compared" in capsys.readouterr().err


def test_a_wrong_number_fails(tmp_path, capsys):
    with np.load(SCORES / "px_mlp_dense.npz") as file:
        logits = file["logits"]
    assert parity.main([altered(tmp_path, logits=logits * (1 + 1e-4))]) == 1
    assert lines(capsys)["altered.npz", "logits"] == pytest.approx(1e-4, rel=1e-2)


def test_a_wrong_count_fails(tmp_path, capsys):
    original = THREE_REGIME / "masks.npz"
    with np.load(original) as file:
        kept, mask = file["d1/erk/kept"], file["d2/lamp/mask/fc.weight"]
    wrong = {"d1/erk/kept": kept + (kept == kept.max()), "d2/lamp/mask/fc.weight": ~mask}
    assert parity.main([altered(tmp_path, original, **wrong)]) == 1
    failed = {name for (_, name), error in lines(capsys).items() if error > 1e-9}
    assert failed == {"d1/erk/kept", "d2/lamp/mask"}


def test_unknown_quantities_are_named(tmp_path, capsys):
    extra = {"novelty/layers.0.weight": np.ones(3)}
    assert parity.main([altered(tmp_path, **extra)]) == 0
    assert "novelty" in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prunable": None}, "not a reference file of a known kind: it holds state/layers.0"),
        ({"meta": None}, "the file has no meta"),
        ({"meta": np.array("{")}, "meta"),
        ({"mask/layers.1.weight": None}, "mask/layers.1.weight"),
        ({"state/layers.1.weight": None}, "layers.1.weight"),
        ({"state/layers.1.weight": np.ones((4, 4))}, "layers.1.weight: shape (4, 4)"),
        ({"state/extra.weight": np.ones((4, 4))}, "not used: extra.weight"),
        ({"mask/layers.1.weight": np.ones((4, 4))}, "fc1/kernel: expected bool (32, 32)"),
        ({"synflow/layers.1.weight": np.ones((4, 4))}, "shape (4, 4)"),
        ({"y": None, "snip/layers.0.weight": np.ones((32, 48))}, "y"),
        ({"x": np.array([object()], dtype=object)}, "allow_pickle"),
    ],
)
def test_a_bad_file_is_one_line(change, message, tmp_path, capsys):
    assert parity.main([altered(tmp_path, **change)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cka", {}, "the networks are in lmc.npz"),
        ("masks", {"weights/bn.weight": None}, "missing: bn.weight"),
        ("masks", {"weights/conv1.weight": None}, "the file has no conv1.weight"),
        ("masks", {"d0/unif/mask/extra.weight": np.ones(3, bool)}, "not used: extra.weight"),
        ("masks", {"d0/unif/mask/fc.weight": np.ones((3, 3), bool)}, "shape (3, 3)"),
        ("lmc", {"depth": np.array(9)}, "depth of a PreResNet"),
        ("lmc", {"train_batch": None}, "the file has no train_batch"),
        ("sam", {"cases": np.array(["adam"])}, "unknown case 'adam'"),
        ("sam", {"mask/fc.weight": np.ones((10, 8))}, "mask of fc/kernel: expected bool"),
    ],
)
def test_a_bad_three_regime_file_is_one_line(name, change, message, tmp_path, capsys):
    path = altered(tmp_path, THREE_REGIME / f"{name}.npz", **change)
    assert parity.main([path]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_digits_become_images():
    grey = np.zeros((1, 8, 8), np.uint8)
    grey[0, 2, 5] = 8
    mean, std = np.array([0.0, 0.5, 1.0]), np.array([1.0, 2.0, 4.0])
    arrays = Arrays(images_8x8=grey, channel_mean=mean, channel_std=std)
    image = np.asarray(PreResNets(arrays).images())[0]
    assert image.shape == (32, 32, 3)
    inside = np.zeros((32, 32), bool)
    inside[8:12, 20:24] = True
    np.testing.assert_allclose(image[inside], np.tile((0.5 - mean) / std, (16, 1)), rtol=1e-6)
    np.testing.assert_allclose(image[~inside], np.tile(-mean / std, (1008, 1)), rtol=1e-6)


@pytest.mark.parametrize("contents", [None, b"", b"PK broken", b"\x93NUMPY\x01\x00"])
def test_not_a_file_is_one_line(contents, tmp_path, capsys):
    path = tmp_path / "x.npz"
    if contents is not None:
        path.write_bytes(contents)
    assert parity.main([str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert error.count("\n") == 1
