"""What runs cells: a crash costs one, nothing is run twice, slots share the machine."""

import fcntl
import json
import os
import signal
import time

import pytest

from experiments.errors import UserError
from experiments.launch import Sweep, cells, local, slots
from experiments.launch.states import Ledger
from experiments.signals import Interrupted
from experiments.store import Store

MLP = "configs/ntksap_mlp.py:smoke"


@pytest.mark.parametrize(
    ("workers", "gpus"), [(2, []), (3, ["0"]), (2, ["0", "1", "2"]), (4, "01")]
)
def test_slots_share_the_machine(workers, gpus):
    shared = slots.slots(workers, list(gpus))
    assert len(shared) == workers
    assert {core for slot in shared for core in slot.cores or ()} == set(os.sched_getaffinity(0))
    devices = [d for s in shared for d in s.environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    assert {d for d in devices if d} == set(gpus)
    fractions = [float(s.environment.get("XLA_PYTHON_CLIENT_MEM_FRACTION", 0)) for s in shared]
    assert sum(fractions) <= max(1, len(gpus))
    assert all(fractions) == (workers > len(gpus) > 0)


def test_one_slot_is_the_whole_machine():
    assert slots.slots(None, []) == slots.slots(1, ["0", "1"]) == [slots.Slot(None, {})]
    assert len(slots.slots(None, ["0", "1"])) == 2


FINISH = """
import json, sys, pathlib
path, config = pathlib.Path(sys.argv[1]), sys.argv[2]
path.mkdir(parents=True)
(path / "config.json").write_text(config)
(path / "DONE").write_text('{"value": 1.0}')
"""


def acting(cell, code=FINISH):
    """The cell with a short program instead of its run."""
    config = json.dumps(Store(cell.workdir, cell.config).config)
    return cell._replace(words=("-c", code, str(cell.workdir), config))


@pytest.fixture
def pair(tmp_path):
    return [
        acting(c)
        for c in cells.resolve(Sweep(MLP, [{"seed": 0}, {"seed": 1}]), {}, tmp_path / "runs")
    ]


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "ledger")


def go(some, ledger, *, workers=2, wait=True):
    lines = []
    local.run(some, ledger, slots.slots(workers, []), wait=wait, show=lines.append)
    return lines


def states(some, ledger):
    return [ledger.state(cell)[0] for cell in some]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("import sys; print('error: one line', file=sys.stderr); sys.exit(2)", "error: one line"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL (out of memory?)"),
        ("import sys; print('a\\n'); sys.exit(3)", "a"),
        ("import sys; sys.exit(3)", "exit status 3"),
    ],
)
def test_a_crash_costs_one_cell_and_is_recorded(pair, ledger, code, error):
    broken = [acting(pair[0], code), pair[1]]
    lines = go(broken, ledger)
    assert states(broken, ledger) == ["failed", "finished"]
    assert ledger.error(broken[0]) == error
    assert any(f"failed: {error}" in line for line in lines)
    assert any(line.startswith("2/2 ") and line.endswith(" 00:00 left") for line in lines)
    assert go(pair, ledger) == []  # a recorded failure is not run again
    ledger.forget_failure(pair[0])
    assert len(go(pair, ledger)) == 1
    assert states(pair, ledger) == ["finished", "finished"]


def test_a_worker_leaves_a_cell_that_is_in_use(pair, ledger):
    pair[0].workdir.mkdir(parents=True)
    with open(pair[0].workdir / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert len(go(pair, ledger, wait=False)) == 1
        assert states(pair, ledger) == ["running", "finished"]
    assert states(pair, ledger) == ["waiting", "finished"]


def test_two_workers_never_take_one_cell(pair, ledger):
    claim = ledger.claim(pair[0])
    assert claim is not None
    assert ledger.claim(pair[0]) is None
    assert ledger.state(pair[0])[0] == "running"
    claim.close()
    assert ledger.state(pair[0])[0] == "waiting"


def test_a_folder_that_cannot_be_written_is_one_line(pair, ledger):
    ledger.folder.write_text("a file")
    with pytest.raises(UserError, match=r"cannot be locked: .*Not a directory"):
        ledger.claim(pair[0])


def test_a_run_that_turns_out_to_be_in_use_is_no_failure(pair, ledger, tmp_path):
    code = f"""
import pathlib, sys
once = pathlib.Path({str(tmp_path / "once")!r})
if not once.exists():
    once.touch()
    sys.exit("error: the run is in use by another process; wait for it")
{FINISH}"""
    some = [acting(pair[0], code)]
    go(some, ledger)
    assert states(some, ledger) == ["finished"]


@pytest.mark.parametrize("status", [143, -signal.SIGTERM])
def test_a_cell_that_was_asked_to_end_ends_the_sweep_and_is_no_failure(pair, ledger, status):
    end = f"sys.exit({status})" if status > 0 else "os.kill(os.getpid(), 15)"
    some = [acting(pair[0], f"import os, sys, time; time.sleep(1); {end}"),
            acting(pair[1], "import time; time.sleep(60)")]  # fmt: skip
    began = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        go(some, ledger)
    assert caught.value.status == 143
    assert time.monotonic() - began < 30
    assert states(some, ledger) == ["waiting", "waiting"]


def test_a_damaged_run_is_a_failure_and_not_redone(pair, ledger):
    pair[0].workdir.mkdir(parents=True)
    (pair[0].workdir / "config.json").write_text("{}")
    (pair[0].workdir / "DONE").write_text("{}")
    go(pair, ledger)
    assert states(pair, ledger) == ["failed", "finished"]
    assert "holds another config" in ledger.state(pair[0])[1]
