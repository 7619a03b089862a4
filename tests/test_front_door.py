"""``import ntk_prune`` is cheap, and what it offers exists."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_layering import HEAVY

import ntk_prune
from ntk_prune.types import Batch

ROOT = Path(__file__).parent.parent


def loaded_after(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter holds after ``code``."""
    report = f"import sys; {code}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    command = [sys.executable, "-c", report]
    return set(
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    )


def test_importing_loads_no_other_package():
    assert not loaded_after("import ntk_prune") & {"jax", "flax", "numpy", *HEAVY}


def test_using_every_name_loads_nothing_heavy():
    used = "import ntk_prune; [getattr(ntk_prune, name) for name in ntk_prune.__all__]"
    packages = loaded_after(used)
    assert {"jax", "flax"} <= packages
    assert not packages & HEAVY


def test_every_name_is_listed_and_the_same_object_as_at_home():
    assert set(ntk_prune.__all__) <= set(dir(ntk_prune))
    assert ntk_prune.Batch is Batch
    with pytest.raises(AttributeError, match="no attribute 'empirical'"):
        _ = ntk_prune.empirical  # pyright: ignore
