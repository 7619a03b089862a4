"""Kernels in files: what was saved is what is loaded, and nothing else passes for it."""

import signal
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from kernel_cases import network

from ntk_prune.checkpoint import is_partial
from ntk_prune.ntk import empirical_ntk, load_kernel, save_kernel

FULL = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)


def test_round_trip(tmp_path):
    path = tmp_path / "kernel.safetensors"
    save_kernel(path, FULL, outputs="full", wrt="prunable", density=0.25, network="mlp", seed=3)
    saved = load_kernel(path)
    np.testing.assert_array_equal(saved.kernel, FULL)
    assert saved.kernel.dtype == np.float32
    assert saved[1:5] == ("full", "prunable", 0.25, {"network": "mlp", "seed": 3})
    assert set(saved.versions) == {"ntk_prune", "jax", "numpy"}
    first = path.read_bytes()
    save_kernel(path, FULL.swapaxes(2, 3).swapaxes(2, 3), outputs="full", wrt="prunable",
                density=0.25, seed=3, network="mlp")  # fmt: skip
    assert path.read_bytes() == first
    save_kernel(path, jnp.eye(3), outputs="class:1")
    assert load_kernel(path).outputs == "class:1"


def test_damaged_files_are_refused_in_one_line(tmp_path):
    path = tmp_path / "kernel.safetensors"
    save_kernel(path, FULL, outputs="full")
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[-1] ^= 1
    other_shape = whole.replace(b'\\"full\\"', b'\\"sum \\"')
    for damaged in (whole[:-7], b"", whole[:40], bytes(changed), other_shape, b"\x80pickle"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged or no saved kernel") as refused:
            load_kernel(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_kernel(tmp_path / "none")


@pytest.mark.parametrize(
    ("kernel", "about", "message"),
    [
        (FULL, {"outputs": "trace"}, "has another shape"),
        (np.eye(2), {"outputs": "full"}, "has another shape"),
        (np.eye(2), {"outputs": "mean"}, "outputs must be"),
        (np.eye(2), {"outputs": "sum", "density": 25.0}, "density must lie in"),
        (np.eye(2), {"outputs": "sum", "seed": np.eye(1)}, "notes must be what JSON holds"),
    ],
)
def test_kernels_that_are_not_what_is_said_are_not_saved(tmp_path, kernel, about, message):
    with pytest.raises(ValueError, match=message):
        save_kernel(tmp_path / "kernel", kernel, **about)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("outputs", ["full", "trace"])
def test_built_in_a_file_it_is_the_kernel_in_memory(tmp_path, outputs):
    model, params, state, x = network("mlp")
    options = {"state": state, "outputs": outputs, "chunk": 2}
    for x2 in (None, x[:3]):
        expected = empirical_ntk(model, params, x, x2, **options)
        in_file = empirical_ntk(model, params, x, x2, out=tmp_path / "k.npy", **options)
        assert isinstance(in_file, np.memmap)
        np.testing.assert_array_equal(in_file, expected)
        np.testing.assert_array_equal(np.load(tmp_path / "k.npy"), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["k.npy"]


def test_a_file_needs_no_memory_for_the_kernel(tmp_path):
    rows = jnp.ones((400, 1))
    f = lambda p, x: x * p  # noqa: E731
    limit = {"memory_limit": 100_000, "outputs": "trace", "chunk": 50}  # of 640 kB for the kernel
    with pytest.raises(MemoryError):
        empirical_ntk(f, jnp.ones((1, 1)), rows, **limit)
    kernel = empirical_ntk(f, jnp.ones((1, 1)), rows, out=tmp_path / "k.npy", **limit)
    np.testing.assert_array_equal(kernel, np.ones((400, 400)))


def test_what_did_not_finish_has_not_the_name(tmp_path):
    path = tmp_path / "k.npy"
    np.save(path, np.eye(2))
    f = lambda p, x: x * p  # noqa: E731
    with pytest.raises(FloatingPointError, match="rows 1 of x1"):
        empirical_ntk(f, jnp.ones((1, 1)), jnp.array([[1.0], [np.nan], [2.0]]), out=path)
    np.testing.assert_array_equal(np.load(path), np.eye(2))
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"must name a \.npy file"):
        empirical_ntk(f, jnp.ones((1, 1)), jnp.ones((1, 1)), out=tmp_path / "k.safetensors")


def test_killed_halfway(tmp_path):
    program = """
import os, signal, sys
import numpy as np
from ntk_prune.ntk import kernel_files

def build(values):
    values[:2] = 1.0
    os.kill(os.getpid(), signal.SIGKILL)

kernel_files.built_in_file(sys.argv[1], (4, 4), np.dtype(np.float32), build)
"""
    path = tmp_path / "k.npy"
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert is_partial(left)
