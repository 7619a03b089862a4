"""Programs that are kept between commands, and the heap that a run keeps."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from experiments import compilation, heap


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache directory, with a JAX that has none yet."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def kept() -> Path:
    """Where programs are kept after the next command's start."""
    jax.config.update("jax_compilation_cache_dir", None)
    compilation.keep_programs()
    return Path(jax.config.jax_compilation_cache_dir or "")


def test_they_are_kept_below_the_users_cache(cache):
    directory = kept()
    assert directory.parent == cache / "ntk_prune" / "programs"
    assert directory.is_dir()


def test_what_a_kill_left_half_written_is_removed(cache):
    directory = kept()
    whole = zlib.compress(bytes(1000) + os.urandom(1000))
    entries = {
        "whole": whole,
        "half": whole[:900],
        "empty": b"",
        "damaged": whole[:900] + bytes(99),
    }
    for name, content in entries.items():
        (directory / f"{name}-cache").write_bytes(content)
    assert kept() == directory
    assert [path.name for path in directory.glob("*-cache")] == ["whole-cache"]


def test_a_damaged_entry_costs_a_compilation_and_is_replaced(cache):
    directory = kept()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    with jax.enable_x64(True):  # so that no other test has compiled the program
        program = jax.jit(lambda x: x * 2 + 0.125)
        program(1.0)
        (entry,) = directory.glob("*-cache")
        content = entry.read_bytes()
        entry.write_bytes(content[: len(content) // 2])
        kept()
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.clear_caches()
        assert program(1.0) == 2.125
    assert zlib.decompress(entry.read_bytes())


def test_the_longest_unused_are_removed_beyond_the_limit(cache, monkeypatch):
    directory = kept()
    monkeypatch.setattr(compilation, "MOST_BYTES", 250)
    content = zlib.compress(os.urandom(80))
    for age, name in enumerate(("newest", "newer", "old", "oldest")):
        entry = directory / f"{name}-cache"
        entry.write_bytes(content)
        os.utime(entry, (1e9 - age, 1e9 - age))
    kept()
    assert sorted(path.name for path in directory.glob("*-cache")) == [
        "newer-cache",
        "newest-cache",
    ]


def test_a_cache_that_the_user_chose_stays(cache, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    compilation.keep_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    assert not (tmp_path / "ntk_prune").exists()


def test_where_nothing_can_be_written_nothing_is_kept(cache):
    (cache / "ntk_prune").write_text("a file where the directory would be")
    assert kept() == Path()


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of glibc")
@pytest.mark.parametrize(("chosen", "expected"), [(None, heap.KEPT), ("", "")])
def test_a_run_keeps_its_heap_unless_the_user_chose(chosen, expected):
    shown = "import os; print(os.environ['GLIBC_TUNABLES'])"
    start = "import sys; sys.argv, sys.orig_argv = ['-m'], sys.orig_argv[2:]; import experiments;"
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if chosen is not None:
        environment["GLIBC_TUNABLES"] = chosen
    words = [sys.executable, "-c", start + shown, "-c", shown, "experiments.run"]
    result = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    assert result.stdout.strip() == expected
