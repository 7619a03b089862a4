"""The scores of the published implementations, and how the comparison reports a bad file."""

from pathlib import Path

import numpy as np
import pytest

from tools.parity import __main__ as parity

SCORES = Path(__file__).parent / "scores"
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


def altered(tmp_path, **arrays) -> str:
    """A small file with some arrays replaced; None removes one."""
    with np.load(SCORES / "px_mlp_dense.npz", allow_pickle=False) as file:
        contents = {**file, **arrays}
    path = tmp_path / "altered.npz"
    np.savez(path, **{k: v for k, v in contents.items() if v is not None})
    return str(path)


def test_a_wrong_number_fails(tmp_path, capsys):
    with np.load(SCORES / "px_mlp_dense.npz") as file:
        logits = file["logits"]
    assert parity.main([altered(tmp_path, logits=logits * (1 + 1e-4))]) == 1
    assert lines(capsys)["altered.npz", "logits"] == pytest.approx(1e-4, rel=1e-2)


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


@pytest.mark.parametrize("contents", [None, b"", b"PK broken", b"\x93NUMPY\x01\x00"])
def test_not_a_file_is_one_line(contents, tmp_path, capsys):
    path = tmp_path / "x.npz"
    if contents is not None:
        path.write_bytes(contents)
    assert parity.main([str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert error.count("\n") == 1
