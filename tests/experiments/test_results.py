"""The index of runs, conditions on their fields, the table, and methods on shared seeds."""

import concurrent.futures
import csv
import dataclasses
import importlib
import io
import itertools
import json
import multiprocessing
import os
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from many_runs import write_copies
from report_runs import write_run, write_sweep

from experiments import runs
from experiments.config import Experiment
from experiments.environment import this_process
from experiments.errors import UserError
from experiments.plotting.statistics import holm, paired_difference
from experiments.presentation import as_text
from experiments.results import main
from experiments.runs import comparing, index, selecting
from experiments.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = write_sweep(tmp_path_factory.mktemp("sweep"))
    write_run(root / "running", seed=9, done=False)
    return root


@pytest.fixture
def two(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"seed_{seed}", seed=seed)
    return tmp_path


def read_paths(monkeypatch, directory):
    """The names of the runs whose files are read for the rows of ``directory``."""
    read, names = index._read, []
    monkeypatch.setattr(index, "_read", lambda path, files: names.append(path.name) or
                        read(path, files))  # fmt: skip
    rows = runs.rows([directory])
    monkeypatch.setattr(index, "_read", read)
    return names, rows


def test_a_row_holds_what_the_files_say(sweep):
    row = next(r for r in runs.rows([sweep]) if r.path == sweep / "snip_none_0.05/1")
    config = json.loads((row.path / "config.json").read_text())
    assert row.fields["prune.density"] == config["prune"]["density"]
    assert row.fields["model.options.width"] == 1
    assert row.numbers == {"test/accuracy": 0.71}
    assert (row.state, row.hardware, row.wall_seconds) == ("finished", "Some CPU, 2 cores", None)


def test_the_second_time_nothing_is_read_and_the_rows_are_the_same(two, monkeypatch):
    first_names, first = read_paths(monkeypatch, two)
    second_names, second = read_paths(monkeypatch, two)
    assert (first_names, second_names) == (["seed_0", "seed_1"], [])
    assert first == second


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (lambda d: (d / "seed_1/DONE").write_text('{"test/accuracy": 0.5}'), ["seed_1"]),
        (lambda d: (d / "seed_1/DONE").unlink(), ["seed_1"]),
        (lambda d: (d / "seed_0/env.json").unlink(), ["seed_0"]),
        (lambda d: write_run(d / "seed_2", seed=2), ["seed_2"]),
        (lambda d: shutil.rmtree(d / "seed_0"), []),
        (lambda d: (d / "seed_0").rename(d / "other"), ["other"]),
    ],
    ids=["other numbers", "unfinished again", "no hardware", "new", "removed", "renamed"],
)
def test_the_index_is_never_the_truth(two, monkeypatch, change, read):
    runs.rows([two])
    change(two)
    names, rows = read_paths(monkeypatch, two)
    assert names == read
    (two / index.INDEX).unlink()
    assert rows == runs.rows([two])


def test_a_run_that_is_removed_while_the_index_is_read_has_no_row(two, monkeypatch):
    below = index.runs_below(two)
    monkeypatch.setattr(index, "runs_below", lambda directory: below)
    shutil.rmtree(two / "seed_0")
    assert [row.path.name for row in runs.rows([two])] == ["seed_1"]


def test_a_file_of_equal_size_and_time_is_read_again(two, monkeypatch):
    runs.rows([two])
    done = two / "seed_0/DONE"
    status = done.stat()
    fresh = two / "fresh"
    fresh.write_text(done.read_text().replace("0.8", "0.7"))
    os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
    fresh.rename(done)
    assert runs.rows([two])[0].numbers == {"test/accuracy": 0.7}


@pytest.mark.parametrize(
    "damage",
    [
        "older", "", "{", "[]", '{"version": 1, "runs": []}', "\x00",
        '{"version": 1, "runs": {"seed_0": 3}}', '{"version": 1, "runs": {"seed_0": {}}}',
    ],
)  # fmt: skip
def test_a_damaged_or_older_index_is_built_anew(two, damage):
    rows = runs.rows([two])
    whole = (two / index.INDEX).read_bytes()
    older = whole.decode().replace('"version": 1', '"version": 0').replace("0.8", "0.7")
    (two / index.INDEX).write_text(older if damage == "older" else damage)
    assert runs.rows([two]) == rows
    assert (two / index.INDEX).read_bytes() == whole


def test_without_permission_to_write_it_works_without_an_index(two, monkeypatch):
    def refuse(path, content):
        raise PermissionError(path)

    monkeypatch.setattr(index, "write_atomically", refuse)
    assert len(runs.rows([two])) == 2
    assert not (two / index.INDEX).exists()


def test_a_run_itself_gets_no_file_of_ours(two):
    assert len(runs.rows([two / "seed_0"])) == 1
    assert not (two / "seed_0" / index.INDEX).exists()


def test_runs_reached_twice_count_once(two):
    (two / "link").symlink_to(two / "seed_0")
    (two / "seed_1/loop").symlink_to(two)
    paths = [row.path.name for row in runs.rows([two, two / "seed_0", two / "link"])]
    assert paths == ["seed_0", "seed_1"]


def test_a_frame_in_two_lines(sweep):
    frame = runs.frame(sweep)
    assert len(frame) == 22
    assert frame["test/accuracy"].count() == 21
    assert set(frame["state"]) == {"finished", "unfinished"}


def test_a_final_number_that_is_called_like_a_field_is_told_from_it(tmp_path):
    path = write_run(tmp_path / "run", density=0.25)
    (path / "DONE").write_text('{"density": 0.251}')
    (row,) = runs.rows([tmp_path])
    assert (row.fields["prune.density"], row.fields["final.density"]) == (0.25, 0.251)
    assert selecting.full_name("density", [row]) == "prune.density"


def test_wall_seconds_are_those_of_one_process(tmp_path):
    path = write_run(tmp_path / "run")
    env = {"started": {"time": "2026-01-01T10:00:00+00:00"},
           "finished": {"time": "2026-01-01T10:01:30+00:00"}}  # fmt: skip
    (path / "env.json").write_text(json.dumps(env))
    assert runs.rows([tmp_path])[0].wall_seconds == 90
    (path / "env.json").write_text(json.dumps(env | {"resumed": [{}]}))
    assert runs.rows([tmp_path])[0].wall_seconds is None


def test_a_store_records_when_it_is_finished(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Tiny(Experiment):
        protocol = "tiny"

    this_process.cache_clear()  # that of the tests has started long ago
    store = Store(tmp_path / "run", Tiny())
    with store.claimed():
        store.finish({"x": 1.0})
    (row,) = runs.rows([tmp_path])
    assert row.wall_seconds is not None
    assert 0 <= row.wall_seconds < 60


CONDITIONS = {
    "density<0.1": lambda f: f["prune.density"] < 0.1,
    "prune.density>=0.25": lambda f: f["prune.density"] >= 0.25,
    "prune.name=snip": lambda f: f["prune.name"] == "snip",
    "prune.name != snip": lambda f: f["prune.name"] != "snip",
    "seed==2": lambda f: f["seed"] == 2,
    "seed<=0": lambda f: f["seed"] <= 0,
    "test/accuracy>0.805": lambda f: f.get("test/accuracy", 0) > 0.805,
    "state=unfinished": lambda f: f["state"] == "unfinished",
    "data.data_dir=none": lambda f: f["data.data_dir"] is None,
    "dtype!=float32": lambda f: f["model.options.dtype"] != "float32",
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_selects_what_fulfils_it(sweep, condition):
    rows = runs.rows([sweep])
    chosen = selecting.select(rows, [condition])
    assert chosen == [row for row in rows if CONDITIONS[condition](row.fields)]
    assert chosen


def test_a_number_is_equal_as_it_is_shown(tmp_path):
    write_run(tmp_path / "run", density=0.8**10)
    rows = runs.rows([tmp_path])
    assert selecting.select(rows, ["density=0.107374"]) == rows
    assert selecting.select(rows, ["density<=0.107374"]) == rows
    assert selecting.select(rows, ["density<0.107374"]) == []
    assert selecting.select(rows, ["density=0.1"]) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--where", "densty<0.1"], "no run has a field 'densty'; did you mean 'density'?"),
        (["--sort", "prune.nam"], "did you mean 'prune.name'?"),
        (["--columns", "name"], "name can be model.name, data.name, prune.name"),
        (["--where", "density"], "'density' is no condition"),
        (["--where", "seed=abc"], "seed is a number; it cannot be = 'abc'"),
        (["--where", "prune.name<3"], "prune.name is 'snip', no number"),
        (["--where", "seed=77"], "none of 22 runs fulfils --where"),
        (["--compare", "seed_"], "did you mean 'seed'?"),
        (["--compare", "model.name"], "all runs have model.name lenet5: nothing to compare"),
        (["--compare", "prune.name", "--measure", "test/miou"], "no run has a field 'test/miou'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(sweep, capsys, words, message):
    assert main([str(sweep), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_damaged_run_is_one_line_and_status_2(two, capsys):
    (two / "seed_0/config.json").write_text("{")
    assert main([str(two)]) == 2
    assert "seed_0/config.json, line 1" in capsys.readouterr().err


def test_the_table_shows_what_differs_and_the_rest_once(sweep, capsys):
    assert main([str(sweep)]) == 0
    shown = capsys.readouterr().out
    heads = shown.splitlines()[0].split()
    assert heads == ["path", "state", "seed", "prune.name", "prune.density", "prune.control",
                     "test/accuracy"]  # fmt: skip
    assert len(shown.split("\n\n")[0].splitlines()) == 23
    assert shown.count("train.duration 3ep") == 1


def test_paths_and_sorts_are_natural(tmp_path, capsys):
    for seed in (10, 9, 2):
        write_run(tmp_path / f"seed_{seed}", seed=seed, accuracy=seed / 100)
    write_run(tmp_path / "seed_11", seed=11, done=False)

    def order(*words):
        assert main([str(tmp_path), "--columns", "seed", *words]) == 0
        return [line.strip() for line in capsys.readouterr().out.splitlines()[1:5]]

    assert order() == ["2", "9", "10", "11"]
    assert order("--sort", "path") == ["2", "9", "10", "11"]
    assert order("--sort", "test/accuracy") == ["2", "9", "10", "11"]


def test_csv_has_every_field(sweep, capsys):
    assert main([str(sweep), "--csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    frame = runs.frame(sweep)
    assert list(lines[0]) == list(frame.columns)
    assert [float(line["prune.density"]) for line in lines] == list(frame["prune.density"])


def closed_testing(p_values):
    """Holm's adjusted p-values by the closure of Bonferroni: the largest over all subsets."""
    indices = range(len(p_values))
    subsets = [s for r in indices for s in itertools.combinations(indices, r + 1)]
    return [
        max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in subsets if i in s)
        for i in indices
    ]


def test_holm_is_the_closure_of_bonferroni():
    rng = np.random.default_rng(0)
    for size in range(1, 7):
        p_values = list(rng.random(size) ** 3)
        np.testing.assert_allclose(holm(p_values), closed_testing(p_values), rtol=1e-12)
    assert holm([]) == []
    assert holm([0.02, 0.02]) == [0.04, 0.04]


def test_a_paired_difference_by_hand():
    # Differences 1, 2, 3: mean 2, s = 1, t = 2 sqrt(3) = 3.4641, two sides of t_2: 0.0742.
    mean, half_width, n, p_value = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert (mean, n) == (2.0, 3)
    assert half_width == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    t = 2 * np.sqrt(3)
    assert p_value == pytest.approx(1 - t / np.sqrt(t**2 + 2), rel=1e-9)  # t_2 in closed form


def test_equal_differences_have_no_test():
    assert paired_difference([0.8, 0.81, 0.82], [0.7, 0.71, 0.72]).p_value is None
    assert paired_difference([0.8, 0.8], [0.8, 0.8]).p_value is None


def test_only_shared_seeds_are_compared():
    values = {"a": {0: 0.9, 1: 0.92, 2: 0.91}, "b": {1: 0.9, 2: 0.88, 3: 0.1}, "c": {9: 0.5},
              "d": {2: 0.4}}  # fmt: skip
    by_names = {pair[:2]: pair for pair in comparing.pairs(values)}
    assert len(by_names) == 6
    ab = by_names[("a", "b")]
    assert (ab.difference.n, ab.difference.mean) == (2, pytest.approx(0.025))
    assert by_names[("a", "d")].difference.half_width is None
    assert by_names[("b", "c")].difference is None
    # One test alone has a p-value, so nothing is corrected.
    assert ab.adjusted == ab.difference.p_value


def test_a_table_of_the_comparison_says_where_nothing_can_be_said():
    values = {"a": {0: 0.9, 1: 0.93}, "b": {0: 0.8, 1: 0.81}, "c": {0: 0.7}, "d": {5: 0.6}}
    text = as_text(comparing.table(values, "test/accuracy", "density 10 %"))
    lines = {tuple(line.split()[:2]): line for line in text.splitlines()[2:]}
    assert lines[("a", "b")].split()[2:5] == ["11.00", "±", "12.71"]  # 12.706 * 0.01
    assert lines[("a", "c")].split()[2:] == ["20.00", "1", "–"]  # noqa: RUF001
    assert "no shared seed" in lines[("a", "d")]


def test_the_command_compares_within_what_agrees(tmp_path, capsys):
    for seed, (a, b) in enumerate(((0.80, 0.70), (0.82, 0.71), (0.81, 0.69))):
        for density in (0.25, 0.05):
            write_run(tmp_path / f"a{density}/{seed}", seed=seed, density=density, accuracy=a)
            write_run(tmp_path / f"b{density}/{seed}", seed=seed, density=density, accuracy=b,
                      method="snip")  # fmt: skip
    assert main([str(tmp_path), "--compare", "prune.name"]) == 0
    shown = capsys.readouterr().out
    tables = [text for text in shown.split("\n\n") if text.startswith("prune.density")]
    assert [text.splitlines()[0] for text in tables] == ["prune.density 0.05", "prune.density 0.25"]
    # Differences 10, 11, 12 points: mean 11, s = 1.
    assert tables[0].splitlines()[2].split() == [
        "ntksap",
        "snip",
        "11.00",
        "±",
        "2.48",
        "3",
        "0.00274",
    ]


def test_runs_that_differ_in_more_are_not_compared(tmp_path, capsys):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", method="snip", learning_rate=0.2)
    assert main([str(tmp_path), "--compare", "prune.name"]) == 2
    assert "they differ in train.learning_rate as well" in capsys.readouterr().err


def test_two_numbers_of_one_seed_are_refused(tmp_path):
    for i, width in enumerate((1, 2)):
        path = write_run(tmp_path / f"r{i}")
        config = json.loads((path / "config.json").read_text())
        config["prune"]["options"] = {"num_draws": width}
        (path / "config.json").write_text(json.dumps(config))
    write_run(tmp_path / "snip", method="snip")
    with pytest.raises(UserError, match=r"differ in prune\.options\.num_draws; choose"):
        comparing.by_field(runs.rows([tmp_path]), "prune.name", "test/accuracy")


def test_the_report_compares_methods(sweep):
    from experiments.protocols.prune_and_train import html_tables, tables

    finished = tables.replicates(runs.find([sweep]))
    titles = [table.title for table in html_tables.comparisons(finished)]
    assert titles == [f"density {d} %: digits, lenet5 width=1" for d in ("25.00", "5.00")]


def test_copies_of_a_run_are_runs(tmp_path):
    write_copies(write_run(tmp_path / "one"), tmp_path / "many", 45)
    frame = runs.frame(tmp_path / "many")
    assert len(frame) == len(frame[["seed", "prune.name", "prune.density"]].drop_duplicates()) == 45


COMMANDS = [
    line.split("  #")[0]
    for line in (ROOT / "docs/results.md").read_text().splitlines()
    if line.startswith("python -m experiments.")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documented_commands_end_well(sweep, tmp_path, monkeypatch, capsys, command):
    (tmp_path / "runs").symlink_to(sweep)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    module, *words = shlex.split(command)[2:]
    assert importlib.import_module(module).main(words) == 0
    assert capsys.readouterr().out


@dataclasses.dataclass(frozen=True)
class Tiny(Experiment):
    """The config of a run that only writes."""

    protocol = "tiny"


def write_tiny_runs(root, seeds):
    """Write finished runs, one per seed, as a training would."""
    for seed in seeds:
        store = Store(root / f"seed_{seed}", Tiny(seed=seed))
        with store.claimed():
            store.log(1, 1.0, {"test/accuracy": seed / 1000})
            store.finish({"number": seed})


@pytest.mark.slow
def test_nothing_is_lost_or_counted_twice_while_200_runs_are_written(tmp_path):
    (tmp_path / "tree").mkdir()
    write_tiny_runs(tmp_path / "tree", [0])
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(8, mp_context=context) as pool:
        writers = [
            pool.submit(write_tiny_runs, tmp_path / "tree", range(1 + i, 201, 8)) for i in range(8)
        ]
        seen: set[int] = set()
        reads = 0
        while not all(writer.done() for writer in writers):
            rows = runs.rows([tmp_path / "tree"])
            seeds = [row.settings["seed"] for row in rows]
            assert len(seeds) == len(set(seeds))
            assert seen <= set(seeds)
            finished = [row for row in rows if row.state == "finished"]
            assert all(row.numbers == {"number": row.settings["seed"]} for row in finished)
            seen, reads = set(seeds), reads + 1
        for writer in writers:
            writer.result()
    rows = runs.rows([tmp_path / "tree"])
    assert reads > 10
    assert [row.settings["seed"] for row in rows] == list(range(201))
    assert all(row.state == "finished" for row in rows)
