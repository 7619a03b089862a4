"""A disk that is full at some moment of a run: one line, and the same bytes once there is room."""

import os
import subprocess
import sys

import pytest
from kills import content

from experiments.commands import FULL

COMMAND = ("-m", "experiments.run", "--config", "configs/ntksap_mlp.py:smoke", "--workdir")
KIB = (4, 40, 120, 200, 280, 400)
"""Sizes of the disk: the run has 392 KiB at its end, and a checkpoint more on the way."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="mounts a tmpfs"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a run that always had room."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run([sys.executable, *COMMAND, workdir], check=True)
    return content(workdir)


@pytest.fixture
def disk(tmp_path):
    """An empty folder, and what gives it a size in KiB."""

    def size(kib: int) -> None:
        options = f"{'remount,' if os.path.ismount(tmp_path) else ''}size={kib}k"
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", tmp_path]
        if subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode:
            pytest.skip("mounts a tmpfs")

    yield tmp_path, size
    subprocess.run(["umount", tmp_path], check=False)


@pytest.mark.parametrize("kib", KIB)
def test_a_full_disk_is_one_line_and_costs_nothing_once_there_is_room(disk, whole, kib):
    path, size = disk
    size(kib)
    words = [sys.executable, *COMMAND, path / "run"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    # Beside it, tensorstore may tell of its threads, whose event loop is closed by the failure.
    assert ended.returncode == 1
    assert FULL in ended.stderr.splitlines()
    size(1 << 16)
    subprocess.run(words, check=True)
    assert content(path / "run") == whole
