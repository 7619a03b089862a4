"""Run directories -> Run -> data frames."""

import json

import numpy as np
import pytest
from report_runs import TOTAL, write_run, write_sweep

from experiments import runs
from experiments.errors import UserError
from experiments.protocols import PROTOCOLS
from experiments.protocols.prune_and_train import tables


def test_reads_everything_a_run_holds(tmp_path):
    run = runs.read(write_run(tmp_path / "run", seed=3, spectrum=True))
    assert run.seed == 3
    assert run.finished
    assert run.last("test/accuracy") == 0.8
    assert run.last("prune_seconds") == 1.5
    assert np.isnan(run.last("unheard of"))
    assert run.pruning is not None
    assert run.pruning["kept"] == 49
    assert run.spectrum is not None
    assert run.spectrum["eigenvalues_pruned"].shape == (8,)


@pytest.mark.parametrize(
    ("protocol", "measure"),
    [
        ("prune_and_train", "test/accuracy"),
        ("transfer", "test/accuracy"),
        ("segmentation", "test/miou"),
    ],
)
def test_a_run_that_trains_is_judged_by_its_measure(tmp_path, protocol, measure):
    run = runs.read(write_run(tmp_path / "run", protocol=protocol, accuracy=0.6))
    assert PROTOCOLS[run.protocol].figures is PROTOCOLS["prune_and_train"].figures
    assert tables.measure_of(run) == measure
    row = tables.summary([run]).iloc[0]
    assert (row["measure"], row["mean"]) == (measure, pytest.approx(0.6))


def test_config_alone_is_a_run(tmp_path):
    (tmp_path / "config.json").write_text('{"protocol": "other"}')
    (run,) = runs.find([tmp_path])
    assert not run.finished
    assert len(tables.overview([run])) == 1
    assert tables.summary([run]).empty


def test_finds_each_run_once_and_leaves_checkpoints_alone(tmp_path):
    write_sweep(tmp_path)
    hidden = tmp_path / "dense/0/checkpoints/1"
    hidden.mkdir(parents=True)
    (hidden / "config.json").write_text("{}")
    assert len(runs.find([tmp_path, tmp_path / "dense", tmp_path / "dense" / "0"])) == 21


def test_drops_the_torn_last_line_of_an_unfinished_run_only(tmp_path):
    path = write_run(tmp_path / "run", done=False)
    with open(path / "metrics.jsonl", "a") as stream:
        stream.write('{"step": 40, "ep')
    assert len(runs.read(path).metrics) == 6
    (path / "DONE").write_text("{}")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 7"):
        _ = runs.read(path).metrics


def test_only_what_is_asked_for_is_read(tmp_path):
    path = write_run(tmp_path / "run", spectrum=True)
    for name in ("metrics.jsonl", "pruning.json", "spectrum.safetensors"):
        (path / name).write_text("damaged")
    run = runs.read(path)
    assert (run.finished, run.has_spectrum, run.hardware) == (True, True, "Some CPU, 2 cores")


def test_paths_are_in_natural_order(tmp_path):
    for seed in (10, 9, 2):
        write_run(tmp_path / f"seed_{seed}", seed=seed)
    assert [run.seed for run in runs.find([tmp_path])] == [2, 9, 10]
    assert [run.seed for run in runs.in_families(runs.find([tmp_path])[::-1])] == [2, 9, 10]


def test_links_add_no_run_and_loops_end(tmp_path):
    write_run(tmp_path / "b/run")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b/run/again").symlink_to(tmp_path)
    assert [run.path for run in runs.find([tmp_path])] == [tmp_path / "b/run"]
    assert [run.path for run in runs.find([tmp_path / "a"])] == [tmp_path / "a/run"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", '{\n"seed": 0,\n}', r"config\.json, line 3"),
        ("config.json", "[1]", r"config\.json, line 1: expected a JSON object"),
        ("metrics.jsonl", '{"step": 1}\n', r"metrics\.jsonl, line 1: epoch, name, value missing"),
        ("pruning.json", '{"kept": 1}', r"pruning\.json: total, layers, collapsed missing"),
        ("spectrum.safetensors", "text", r"spectrum\.safetensors is damaged"),
    ],
)
def test_names_the_damaged_file(tmp_path, file, content, message):
    path = write_run(tmp_path / "run")
    (path / file).write_text(content)

    def read():
        run = runs.read(path)
        return run.metrics, run.pruning, run.spectrum

    with pytest.raises(UserError, match=message):
        read()


def test_one_row_per_experiment_with_its_interval(tmp_path):
    table = tables.summary(runs.find([write_sweep(tmp_path)])).set_index(["method", "density"])
    assert set(table.index.get_level_values("method")) == {
        "dense", "ntksap", "ntksap (shuffle)", "snip",
    }  # fmt: skip
    assert len(table) == 7
    row = table.loc[("ntksap", 0.25)]
    assert row["n"] == 3
    assert row["mean"] == pytest.approx(0.81)
    assert row["half_width"] == pytest.approx(4.302653 * 0.01 / np.sqrt(3), rel=1e-6)
    assert row["achieved"] == 49 / TOTAL


def test_other_settings_are_no_replicates(tmp_path):
    write_run(tmp_path / "short", seed=0)
    write_run(tmp_path / "long", seed=1, learning_rate=0.2)
    table = tables.summary(runs.find([tmp_path]))
    assert list(table["n"]) == [1, 1]
    assert set(table["method"]) == {"ntksap (learning_rate=None)", "ntksap (learning_rate=0.2)"}


def test_what_does_not_change_the_result_leaves_replicates_together(tmp_path):
    write_run(tmp_path / "pmap", seed=0, parallel="pmap", num_devices=None)
    write_run(tmp_path / "jit", seed=1, parallel="jit", num_devices=4)
    assert list(tables.summary(runs.find([tmp_path]))["n"]) == [2]


def test_how_and_whence_images_are_read_leaves_replicates_together(tmp_path):
    for seed in range(2):
        path = write_run(tmp_path / str(seed), seed=seed)
        config = json.loads((path / "config.json").read_text())
        config["data"] |= {"num_workers": 4 * seed, "data_dir": f"/data/{seed}"}
        config["model"] |= {"weights": "weights/moco.pth", "weights_source": "moco_v2"}
        (path / "config.json").write_text(json.dumps(config))
    table = tables.summary(runs.find([tmp_path]))
    assert list(table["n"]) == [2]
    assert list(table["data"]) == ["digits"]
    assert list(table["model"]) == ["lenet5 width=1 weights=moco_v2"]


def test_unfinished_runs_and_repetitions_enter_no_mean(tmp_path):
    write_run(tmp_path / "a", seed=0)
    write_run(tmp_path / "b", seed=0)
    write_run(tmp_path / "c", seed=1, done=False)
    selected = runs.find([tmp_path])
    status = tables.overview(selected)["status"]
    assert list(status) == ["finished", f"repeats {tmp_path / 'a'}", "unfinished"]
    assert tables.replicates(selected) == selected[:1]


def test_layers_mark_what_collapsed(tmp_path):
    write_run(tmp_path / "run", kept=(0, 49))
    frame = tables.layers(runs.find([tmp_path]))
    assert list(frame["collapsed"]) == [True, False]
    assert list(frame["depth"]) == [1, 2]


def test_configs_show_what_differs_and_its_seeds(tmp_path):
    for seed in (1, 0):
        write_run(tmp_path / f"a{seed}", seed=seed)
    write_run(tmp_path / "b", density=0.1)
    frame = tables.configs(runs.find([tmp_path]))
    assert list(frame.columns) == ["prune.density", "seeds"]
    assert dict(zip(frame["prune.density"], frame["seeds"], strict=True)) == {
        0.25: "0, 1",
        0.1: "0",
    }


def test_a_value_of_a_repeated_step_counts_once(tmp_path):
    path = write_run(tmp_path / "run")
    again = {"step": 30, "epoch": 3.0, "name": "test/accuracy", "value": 0.85}
    with open(path / "metrics.jsonl", "a") as stream:
        stream.write(json.dumps(again) + "\n")
    frame = tables.curves([runs.read(path)])
    last = frame[(frame["name"] == "test/accuracy") & (frame["step"] == 30)]
    assert list(last["value"]) == [0.85]
