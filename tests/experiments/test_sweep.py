"""Sweeps: cells are runs, each is done once, and whatever ends a process costs one cell."""

import itertools
import json
import os
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_problem import FILE, get_sweep, runs

from experiments import run, sweep
from experiments.errors import UserError
from experiments.launch import Sweep, axis, cells, measuring, product, summary, zipped
from experiments.launch.costs import estimate
from experiments.launch.states import Ledger
from experiments.store import Store

MLP = "configs/ntksap_mlp.py:smoke"


def resolved(tmp_path, *fields, **common):
    return cells.resolve(Sweep(MLP, list(fields)), common, tmp_path)


def test_a_cell_is_the_run_of_its_own_command(tmp_path, monkeypatch):
    fields = {"prune.density": 0.2, "train.module_rates": ("fc0=0.5",)}
    (cell,) = cells.resolve(Sweep(MLP, [fields]), {})
    command = run.cli.parse(list(cell.words[2:]))
    assert command.workdir == cell.workdir
    assert Store(tmp_path, command.config).config == Store(tmp_path, cell.config).config
    (elsewhere,) = resolved(tmp_path, fields)
    assert elsewhere.key == cell.key
    assert run.cli.parse(list(elsewhere.words[2:])).workdir == tmp_path / cell.key


def test_a_label_says_what_differs(tmp_path):
    grid = product(
        axis("prune.density", [0.1, 0.2]), axis("seed", [0, 1]), axis("train.momentum", [0])
    )
    labels = [(c.label, c.group) for c in resolved(tmp_path, *grid)]
    assert labels[1] == ("prune.density=0.1 seed=1", "prune.density=0.1")
    assert resolved(tmp_path, {"seed": 3})[0].label == "seed=3"


def test_a_cell_may_have_another_config_file(tmp_path):
    first, second = resolved(tmp_path, {"seed": 0}, {"config": "configs/snip_resnet20.py:smoke"})
    assert (first.config.prune.name, second.config.prune.name) == ("ntksap", "snip")
    assert second.key.startswith("snip_resnet20-smoke/")


def test_fields_of_all_cells(tmp_path):
    cell, _ = resolved(tmp_path, {"seed": 0}, {"seed": 1}, **{"prune.density": "0.3"})
    assert cell.config.prune.density == 0.3
    with pytest.raises(UserError, match=r"cell 1 \(seed=0\): --config.seed is set by the sweep"):
        resolved(tmp_path, {"seed": 0}, seed="1")


def test_a_mistake_of_several_cells_is_one_line(tmp_path):
    grid = axis("seed", range(7))
    with pytest.raises(UserError) as caught:
        resolved(tmp_path, *grid, **{"prune.desity": "1"})
    assert str(caught.value).startswith("all 7 cells, first cell 1 (seed=0): ")
    assert str(caught.value).count("\n") == 0
    with pytest.raises(UserError) as caught:
        resolved(tmp_path, *grid, *axis("prune.density", [5, 5]), {"prune.density": 6})
    first, second = str(caught.value).splitlines()
    assert first.startswith("2 of 10 cells, first cell 8 (prune.density=5): ")
    assert second.startswith("cell 10 (prune.density=6): ")


def test_every_bad_cell_is_a_line_with_its_field(tmp_path, capsys):
    bad = [{"prune.desity": 0.1}, {"seed": 1}, {"prune.density": 5}, {"train.duration": "2"}]
    with pytest.raises(UserError) as caught:
        resolved(tmp_path, *bad)
    lines = str(caught.value).splitlines()
    assert [line.partition(" (")[0] for line in lines] == ["cell 1", "cell 3", "cell 4"]
    for line, field in zip(lines, ("prune.desity", "prune.density", "train.duration"), strict=True):
        assert f": {field}" in line or f"--config.{field}" in line


@pytest.mark.parametrize("other", [{"seed": 0}, {"prune.density": 0.1}])
def test_two_cells_of_one_run_are_refused(other, tmp_path):
    with pytest.raises(UserError, match=r"^cell 3 .*: the same run as cell 1, "):
        resolved(tmp_path, {"seed": 0}, {"seed": 1}, other)


def test_axes_that_do_not_fit():
    assert zipped(axis("a", [1, 2]), axis("b", [3, 4])) == [{"a": 1, "b": 3}, {"a": 2, "b": 4}]
    with pytest.raises(ValueError, match="two axes set a"):
        product(axis("a", [1]), axis("a", [2]))
    with pytest.raises(ValueError, match="longer"):
        zipped(axis("a", [1]), axis("b", [3, 4]))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_shards_are_a_partition(count):
    whole = list(range(10))
    parts = [cells.shard(whole, i, count) for i in range(1, count + 1)]
    assert sorted(itertools.chain(*parts)) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_summary_is_over_seeds(tmp_path):
    grid = product(axis("prune.density", [0.1, 0.2]), axis("seed", range(3)))
    some = resolved(tmp_path, *grid)
    for cell, value in zip(some, (1, 2, 3, 5, 5), strict=False):
        store = Store(cell.workdir, cell.config)
        with store.claimed():
            store.finish({"test/accuracy": value / 10, "nothing": None, "flag": True})
    first, second = summary.summarise(some)
    assert (first.label, second.label) == ("prune.density=0.1", "prune.density=0.2")
    mean, half_width, n = first.intervals["test/accuracy"]
    assert (mean, n) == (pytest.approx(0.2), 3)
    assert half_width == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-6)  # t of 2 degrees
    assert second.intervals == {"test/accuracy": (0.5, 0.0, 2)}
    assert summary.as_csv([first, second]).splitlines()[2] == "prune.density=0.2,0.5,0.0,2"
    assert "20.00 ± 24.84" in summary.as_table([first, second]).rows[0]


def command(root, *words, preset="pair"):
    return [f"{FILE}:{preset}", "--root", str(root), *words]


def test_two_workers_do_the_runs_of_two_commands(tmp_path, capsys):
    assert sweep.main(command(tmp_path / "a", "--run", "--workers", "2")) == 0
    assert "2 cells: 2 finished, 0 running, 0 failed, 0 waiting" in capsys.readouterr().out
    for cell in cells.resolve(get_sweep(), {}, tmp_path / "b"):
        assert run.main(list(cell.words[2:])) == 0
    assert len(runs(tmp_path / "a")) == 2
    assert runs(tmp_path / "a") == runs(tmp_path / "b")
    capsys.readouterr()
    assert sweep.main(command(tmp_path / "a", "--run")) == 0  # nothing is redone
    assert sweep.main(command(tmp_path / "a", "--status")) == 0
    assert "nothing is left to run" in capsys.readouterr().out
    assert sweep.main(command(tmp_path / "a", "--summary", "--csv")) == 0
    assert ",test/accuracy,test/accuracy/half_width,test/accuracy/n," in capsys.readouterr().out


def test_a_failure_is_listed_until_it_is_retried(tmp_path, capsys):
    shard = ("--shard", "2/2")
    for verb, is_begun in (("--run", True), ("--run", False), ("--retry", True)):
        assert sweep.main(command(tmp_path, verb, *shard, preset="broken")) == 1
        printed = capsys.readouterr().out
        assert "failed: cell 2 (seed=1" in printed
        assert "error: train: " in printed
        assert "1 cells: 0 finished, 0 running, 1 failed, 0 waiting" in printed
        assert ("1/1 cell 2 " in printed) == is_begun
    assert runs(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no_such_sweep"], "no sweep file sweeps/no_such_sweep.py"),
        (["ntksap_fig1_cifar10:smok"], "there is no preset 'smok'; did you mean 'smoke'?"),
        (["ntksap_fig1_cifar10:smoke", "--cfg.seed=1"], "there is no --cfg.seed=1"),
        (["ntksap_fig1_cifar10:smoke", "--config.sed=1"], "did you mean 'seed'?"),
        (["ntksap_fig1_cifar10:smoke", "--retry", "--status"], "--retry runs cells"),
        (["ntksap_fig1_cifar10:smoke", "--slurm", "main"], "--slurm: 'main' is not KEY=VALUE"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys, tmp_path):
    assert sweep.main([*words, "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert not list(tmp_path.iterdir())


SWEEPS = sorted(p for p in Path("sweeps").glob("*.py") if p.stem != "__init__")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
@pytest.mark.parametrize("preset", ["", ":smoke"])
def test_the_cells_of_every_sweep(path, preset, tmp_path):
    assert cells.resolve(cells.load(f"{path}{preset}"), {}, tmp_path)


def begun(root, *words, preset):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.sweep", *command(root, *words, preset=preset)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_sigterm_ends_the_sweep_and_its_cells_with_one_line(tmp_path):
    process = begun(tmp_path, "--run", preset="long")
    wait_for(lambda: list(tmp_path.rglob("metrics.jsonl")))
    child = json.loads(next(tmp_path.rglob("env.json")).read_text())["started"]["pid"]
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (143, "interrupted; the same command goes on\n")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.slow
def test_a_sweep_killed_five_times_has_the_summary_of_a_whole_one(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    rng, total = random.Random(0), len(get_sweep("sixty").cells)
    for kill in range(5):
        process = begun(tmp_path / "killed", "--run", "--workers", "2", preset="sixty")
        wait_for(lambda k=kill: len(list(tmp_path.rglob("DONE"))) >= k * total // 6, 600)
        time.sleep(rng.uniform(0, 5))
        process.kill()
        process.communicate()
    process = begun(tmp_path / "killed", "--run", "--workers", "2", preset="sixty")
    assert process.communicate(timeout=1200)[1] == ""
    assert process.returncode == 0
    for cell in cells.resolve(get_sweep("sixty"), {}, tmp_path / "whole"):
        assert run.main(list(cell.words[2:])) == 0
    capsys.readouterr()
    tables = []
    for name in ("killed", "whole"):
        assert sweep.main(command(tmp_path / name, "--summary", "--csv", preset="sixty")) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert runs(tmp_path / "killed") == runs(tmp_path / "whole")


def test_the_time_left_is_that_of_finished_cells_with_the_same_config_file(tmp_path):
    some = resolved(tmp_path, {"seed": 0}, {"seed": 1}, {"seed": 2},
                    {"config": "configs/snip_resnet20.py:smoke"})  # fmt: skip
    ledger = Ledger(tmp_path / "ledger")
    assert "no cell has been timed" in estimate(some, ledger, 2)
    store = Store(some[0].workdir, some[0].config)
    with store.claimed():
        store.finish({})
    ledger.write(some[0], 60)
    assert estimate(some, ledger, 2).startswith("03:00 of work left, 01:30 with 2 at a time, by 1 ")


def test_measured_steps(monkeypatch, tmp_path):
    some = cells.resolve(get_sweep(), {"train.duration": "7ep"}, tmp_path)
    several = cells.resolve(Sweep("three_regime_digits:smoke", [{"seed": 0}]), {}, tmp_path)
    monkeypatch.setattr(measuring, "_images_per_second", lambda recipe, seed: 280.0)
    first, second, total = measuring.measured([*some, *several], 2)
    assert first == f"2 networks of {FILE}: 280 images/s, 01:10 of training"  # 2 x 7 x 5 steps
    assert second.startswith("18 networks of three_regime_digits:smoke: ")  # 2 + 2 x 2 x 2 x 2
    assert " with 2 at a time, by 10 steps on cpu" in total


def test_a_lottery_trains_every_level(tmp_path):
    fields = {"config": "lottery_resnet20:smoke", "levels": 3, "replicates": 2}
    (cell,) = cells.resolve(Sweep(FILE, [fields]), {}, tmp_path)
    assert [networks for _, networks in cell.config.trainings()] == [8]


def test_what_does_not_say_what_it_trains_is_not_measured(tmp_path, monkeypatch):
    some = cells.resolve(get_sweep(), {}, tmp_path)
    silent = cells.resolve(Sweep("imc_lenet_digits:smoke", [{"seed": 0}]), {}, tmp_path)
    monkeypatch.setattr(measuring, "_images_per_second", lambda recipe, seed: 280.0)
    *_, line, _ = measuring.measured([*some, *silent], 1)
    assert line == "1 cells not measured: configs of imc do not say what they train"
    with pytest.raises(UserError, match=r"^--measure: configs of imc do not say"):
        list(measuring.measured(silent, 1))


def test_steps_are_measured_here(capsys, tmp_path):
    assert sweep.main(command(tmp_path, "--measure")) == 0
    assert " images/s, " in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_commands_of_the_page_are_commands(tmp_path):
    page = Path("docs/scaling.md").read_text()
    lines = [x for x in page.splitlines() if x.startswith("python -m experiments.sweep ")]
    assert len(lines) == 11
    parsed = [sweep.parse(shlex.split(line, comments=True)[3:]) for line in lines]
    for file, fields in {(arguments.file, tuple(common.items())) for arguments, common in parsed}:
        assert cells.resolve(cells.load(file), dict(fields), tmp_path)
