"""How a run is followed: its log lines, trackers, and what a signal leaves."""

import gc
import json
import logging
import os
import signal
import sys
import time

import lottery_problem
import pytest

from experiments import driver, run, signals, trackers
from experiments.store import Store
from ntk_prune import progress

WORDS = ["--config", lottery_problem.FILE, "--config.levels=0", "--config.replicates=1"]


class Recorder:
    """A tracker in one page: what a run tells it, in a list."""

    calls: list = []  # noqa: RUF012

    def start(self, config, path):
        self.calls.append(("start", config["levels"], path.name))

    def log(self, step, values):
        self.calls.append(("log", step, values))

    def finish(self):
        self.calls.append(("finish",))


def test_a_tracker_sees_what_the_run_logs(tmp_path, capsys):
    Recorder.calls.clear()
    words = ["--workdir", str(tmp_path / "r"), "--tracker", f"{__name__}:Recorder"]
    assert run.main([*WORDS, *words]) == 0
    (start, *logged, finish) = Recorder.calls
    assert (start, finish) == (("start", 0, "r"), ("finish",))
    part = Store(tmp_path / "r/replicate_0/level_0", lottery_problem.get_config())
    records = {(r["step"], f"replicate_0/level_0/{r['name']}"): r["value"] for r in part.records()}
    assert records == {(step, k): v for _, step, values in logged for k, v in values.items()}
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3  # an epoch is cut in two at the rewind step
    assert all(line.endswith(" left") for line in lines)


def test_a_killed_run_tells_its_tracker_once(tmp_path, monkeypatch):
    Recorder.calls.clear()
    words = ["--config.train.checkpoint_every=5", "--workdir", str(tmp_path / "r"),
             "--tracker", f"{__name__}:Recorder"]  # fmt: skip
    with monkeypatch.context() as patch:
        log = Store.log

        def killed(store, step, *arguments, **options):
            log(store, step, *arguments, **options)
            if step == 5:
                raise RuntimeError("killed")

        patch.setattr(Store, "log", killed)
        with pytest.raises(RuntimeError, match="killed"):
            run.main([*WORDS, *words])
    assert run.main([*WORDS, *words]) == 0
    told = [(step, n) for kind, *call in Recorder.calls if kind == "log"
            for step, values in [call] for n in values]  # fmt: skip
    part = Store(tmp_path / "r/replicate_0/level_0", lottery_problem.get_config())
    logged = [(r["step"], f"replicate_0/level_0/{r['name']}") for r in part.records()]
    assert told == logged


def test_tensorboard_writes_events(tmp_path):
    pytest.importorskip("tensorboardX")
    with trackers.following(trackers.make("tensorboard"), {"seed": 0}, tmp_path):
        Store(tmp_path, lottery_problem.get_config(), None)
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert file.stat().st_size > 0


@pytest.mark.parametrize("name", ["wandb", "no_module:x", "json:nothing"])
def test_an_unknown_tracker_is_one_line(name, tmp_path, capsys):
    assert run.main([*WORDS, "--tracker", name, "--workdir", str(tmp_path / "r")]) == 2
    assert capsys.readouterr().err.startswith("error: --tracker: ")
    assert not (tmp_path / "r").exists()


def test_progress_without_a_terminal_is_lines_with_the_time_left(caplog, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    with (
        caplog.at_level(logging.INFO, "ntk_prune"),
        progress.Progress(4, "ntksap", "round", shown=False, initial=1) as bar,
    ):
        bar.update()
        bar.update(2)
    assert [r.message.split(" in ")[0] for r in caplog.records] == ["ntksap: 2 of 4 rounds"]
    assert bar.line(30.0) == "ntksap: 4 of 4 rounds in 00:30, 00:00 left"


def test_a_whole_has_one_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.whole(2, "lottery", "level") as bar:
        bar.mininterval = 0
        with progress.Progress(4, "training", "step") as part:
            part.update(3)
        bar.update()
    text = capsys.readouterr().err
    assert "lottery:" in text
    assert "training: 3 of 4 steps]" in text
    assert "\n" not in text.strip()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_one_line(number, status, tmp_path, capsys, monkeypatch):
    """The signal comes while a checkpoint is written, which is finished first."""
    saved = []

    class Checkpoints(driver.Checkpoints):
        def save(self, step, tree):
            os.kill(os.getpid(), number)
            super().save(step, tree)
            saved.append(step)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(driver, "Checkpoints", Checkpoints)
        words = [*WORDS, "--workdir", str(tmp_path / "r")]
        assert run.main(words) == status
    assert capsys.readouterr().err == "interrupted; the same command goes on\n"
    assert saved == [3]
    assert signal.getsignal(number) is before
    assert run.main(words) == 0
    assert len(json.loads((tmp_path / "r/env.json").read_text()).get("resumed", [])) == 0


def test_a_signal_outside_a_write_comes_at_once():
    with pytest.raises(signals.Interrupted), signals.raised():
        signal.raise_signal(signal.SIGTERM)


def collect_and_wait():
    def callback(phase, info):
        signal.raise_signal(signal.SIGINT)

    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)
    time.sleep(10)


def test_a_signal_that_garbage_collection_swallows_comes_again():
    with pytest.raises(signals.Interrupted), signals.raised():
        collect_and_wait()
