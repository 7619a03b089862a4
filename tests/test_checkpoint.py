import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors.numpy import load_file

from ntk_prune.checkpoint import Checkpoints, load_tree, save_tree


def tree_of_everything():
    rng = np.random.default_rng(0)
    return {
        "fc": {
            "kernel": rng.normal(size=(3, 5)).astype(np.float32),
            "bias": np.zeros(0, np.float32),
        },
        "deep": {"er": {"half": jnp.arange(4, dtype=jnp.bfloat16), "step": np.int32(7)}},
        "mask": {"kernel": rng.random((3, 5, 7)) < 0.5, "scalar": np.array(True)},
    }


def test_safetensors_round_trip(tmp_path):
    tree = tree_of_everything()
    save_tree(tmp_path / "new" / "tree.safetensors", tree)
    loaded = load_tree(tmp_path / "new" / "tree.safetensors")
    assert jax.tree.structure(loaded) == jax.tree.structure(tree)
    for a, b in zip(jax.tree.leaves(loaded), jax.tree.leaves(tree), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)


def test_masks_take_one_bit_and_open_elsewhere(tmp_path):
    mask = np.random.default_rng(1).random((100, 80)) < 0.5
    save_tree(tmp_path / "mask.safetensors", {"fc": {"kernel": mask}})
    assert (tmp_path / "mask.safetensors").stat().st_size < 1000 + 200
    packed = load_file(tmp_path / "mask.safetensors")["fc/kernel"]
    bits = np.unpackbits(packed, count=mask.size).reshape(mask.shape)
    np.testing.assert_array_equal(bits, mask)


def test_non_contiguous_arrays_keep_their_values(tmp_path):
    a = np.arange(12.0).reshape(3, 4)
    save_tree(tmp_path / "a.safetensors", {"t": a.T, "s": a[:, ::2]})
    loaded = load_tree(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded["t"], a.T)
    np.testing.assert_array_equal(loaded["s"], a[:, ::2])


def test_a_write_cut_short_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.safetensors"
    save_tree(path, {"a": np.ones(3)})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_tree(path, {"a": np.zeros(3)})
    assert os.listdir(tmp_path) == ["p.safetensors"]
    np.testing.assert_array_equal(load_tree(path)["a"], np.ones(3))


def test_bad_files_are_named_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*missing"):
        load_tree(tmp_path / "missing.safetensors")
    (tmp_path / "text").write_text("not tensors at all")
    with pytest.raises(ValueError, match="text is not a safetensors file") as error:
        load_tree(tmp_path / "text")
    assert "\n" not in str(error.value)


def test_checkpoints_keep_the_newest_and_restore_any_of_them(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest_step() is None
        for step in (1, 5, 9):
            checkpoints.save(step, {"w": jnp.full(3, float(step)), "m": jnp.array([True, False])})
        assert checkpoints.latest_step() == 9
        target = {"w": jnp.zeros(3), "m": jnp.zeros(2, bool)}
        np.testing.assert_array_equal(checkpoints.restore(target)["w"], [9, 9, 9])
        restored = checkpoints.restore(target, step=5)
        np.testing.assert_array_equal(restored["w"], [5, 5, 5])
        np.testing.assert_array_equal(restored["m"], [True, False])
        with pytest.raises(FileNotFoundError, match="no checkpoint of step 1 in"):
            checkpoints.restore(target, step=1)


def test_an_empty_directory_has_nothing_to_restore(tmp_path):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(FileNotFoundError, match="no checkp"):
        checkpoints.restore({"w": jnp.zeros(3)})


def test_a_checkpoint_from_four_devices_restores_on_one_and_back(tmp_path):
    everywhere = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec())
    one = {"w": jnp.arange(6.0).reshape(2, 3), "n": jnp.int32(3)}
    four = jax.device_put(one, everywhere)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, four)
        for target in (one, jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), one)):
            restored = checkpoints.restore(target)
            assert {len(leaf.devices()) for leaf in restored.values()} == {1}
            jax.tree.map(np.testing.assert_array_equal, restored, one)
        checkpoints.save(2, one)
        restored = checkpoints.restore(four)
        assert {len(leaf.devices()) for leaf in restored.values()} == {4}
        jax.tree.map(np.testing.assert_array_equal, restored, one)


WRITER = """
import sys, jax.numpy as jnp
from ntk_prune.checkpoint import Checkpoints
checkpoints, step = Checkpoints(sys.argv[1]), 0
while True:
    step += 1
    checkpoints.save(step, {"w": jnp.full(1_000_000, float(step))})
    print(step, flush=True)
"""


def test_what_a_killed_process_leaves_is_ignored_quietly(tmp_path, capfd):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    done = [int(writer.stdout.readline()) for _ in range(3)][-1]
    writer.kill()
    writer.wait()
    (tmp_path / "999.orbax-checkpoint-tmp").mkdir(exist_ok=True)
    with Checkpoints(tmp_path) as checkpoints:
        step = checkpoints.latest_step()
        assert step is not None
        assert done <= step < 999
        restored = checkpoints.restore({"w": jnp.zeros(1_000_000)})
        np.testing.assert_array_equal(restored["w"], float(step))
        checkpoints.save(999, restored)
        assert checkpoints.latest_step() == 999
    assert capfd.readouterr().err == ""


def test_training_and_checkpoint_import_no_heavy_package():
    code = (
        "import sys, ntk_prune.training, ntk_prune.checkpoint\n"
        "heavy = {'orbax', 'tensorflow', 'neural_tangents', 'matplotlib', 'pandas', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
