"""The grid of the three-regime model: stages done once, shared, resumed, extended."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

from configs import common
from experiments import regimes
from experiments.comparison import Comparison, Settings
from experiments.config import DataConfig, TrainConfig
from experiments.errors import UserError
from experiments.protocols.three_regime import results
from experiments.protocols.three_regime.config import TemperatureConfig, ThreeRegime
from experiments.protocols.three_regime.run import three_regime
from experiments.report import __main__ as report
from experiments.store import Store

TRAIN = TrainConfig(duration="2ep", batch_size=256, drops=("1ep",), checkpoint_every=2)
CONFIG = ThreeRegime(
    model=common.model("mlp", widths=(8,), batch_norm=True),
    data=DataConfig("digits"),
    dense=TRAIN,
    retrain=TRAIN,
    temperature=TemperatureConfig(values=(2.0, 1.0)),
    prune=dataclasses.replace(ThreeRegime().prune, options=common.magnitude("uniform")),
    densities=(0.5, 0.25),
    dense_seeds=2,
    retrain_seeds=2,
    measure=Settings(points=3, line_images=64, similarity_images=64, hessian_images=0,
                     kernel_images=0),
)  # fmt: skip


def run(config, path):
    three_regime(config, Store(path, config))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(CONFIG, tmp_path_factory.mktemp("grid"))


def contents(path, below="."):
    """The bytes of all files but those that tell the time."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted((path / below).rglob("*"))
        if file.is_file() and file.name not in ("timing.jsonl", "env.json", ".lock")
    }


def stored(path):
    return regimes.load(path)


def test_every_cell_has_its_networks_and_measures(finished):
    rows = stored(finished)["rows"]
    assert len(rows) == 2 * 2 * 2
    for temperature in ("1", "2"):
        for density in ("0.25", "0.5"):
            cell = finished / "cells" / temperature / density / "dense_1"
            assert (cell / "retrain_1" / "DONE").exists()
            assert (cell / "pair_0_1.json").exists()
    assert {row["weights_kept"] for row in rows} == {(64 * 8 + 80) // 2, (64 * 8 + 80) // 4}
    assert (finished / "three_regime.png").stat().st_size > 10_000


def test_rows_run_from_the_hottest_and_columns_from_the_sparsest(finished):
    assert stored(finished)["temperatures"] == [1.0, 2.0]
    assert stored(finished)["densities"] == [0.25, 0.5]
    radii = TemperatureConfig("sam_rho", (0.0, 0.2, 0.1))
    assert radii.from_hottest() == (0.2, 0.1, 0.0)


def test_retrainings_differ_by_their_seed_alone(finished):
    cell = Store(finished, CONFIG).within("cells/1/0.5/dense_0")
    a, b = (cell.within(f"retrain_{r}").load("params_final")["params"] for r in (0, 1))
    masks = [cell.within(f"retrain_{r}").load("mask") for r in (0, 1)]
    jax.tree.map(np.testing.assert_array_equal, *masks)
    assert not np.array_equal(a["fc0"]["kernel"], b["fc0"]["kernel"])


def test_one_at_a_time_gives_the_same_numbers(finished, tmp_path):
    alone = run(dataclasses.replace(CONFIG, at_once=1), tmp_path / "alone")
    for name in ("test_error", "lmc", "cka", "dense_error"):
        together = results.grid_of(stored(finished), name)
        np.testing.assert_allclose(results.grid_of(stored(alone), name), together, atol=0.02)


def test_a_stop_after_the_whole_training_is_its_end(finished):
    part = Store(finished, CONFIG).within("dense/all/seed_0")
    jax.tree.map(
        np.testing.assert_array_equal,
        part.load("epoch_2")["params"],
        part.load("params_final")["params"],
    )


def test_killed_while_it_measures_it_ends_with_the_same_bytes(finished, tmp_path, monkeypatch):
    path, measured = tmp_path / "killed", []
    both = Comparison.both

    def killed(self, a, b):
        measured.append(None)
        if len(measured) > 3:
            raise KeyboardInterrupt
        return both(self, a, b)

    monkeypatch.setattr(Comparison, "both", killed)
    with pytest.raises(KeyboardInterrupt):
        run(CONFIG, path)
    monkeypatch.setattr(Comparison, "both", both)
    run(CONFIG, path)
    assert contents(path) == contents(finished)


def test_a_larger_grid_goes_on_in_the_same_directory(finished, tmp_path):
    path = tmp_path / "grown"
    shutil.copytree(finished, path)
    before = contents(path, "cells") | contents(path, "dense")
    larger = dataclasses.replace(CONFIG, densities=(0.25, 0.5, 0.75), dense_seeds=3)
    assert Store(path, larger).done is None
    run(larger, path)
    after = contents(path)
    assert before.items() <= after.items()
    assert len(stored(path)["rows"]) == 2 * 3 * 3
    with pytest.raises(UserError, match=r"densities: \[0.25, 0.5, 0.75\] there, \[0.5, 0.25\] now"):
        run(CONFIG, path)


def test_other_fields_may_not_change(finished):
    other = dataclasses.replace(CONFIG, seed=1)
    with pytest.raises(UserError, match="seed: 0 there, 1 now"):
        Store(finished, other).done  # noqa: B018


def test_the_least_of_every_column_is_zero_above_itself(finished):
    from experiments.protocols.three_regime import figures

    means = figures._means(stored(finished), "normalised_error")
    np.testing.assert_allclose(means.mean.min(0), 0, atol=1e-12)
    assert (means.n == 2).all()


def test_report_shows_the_grid(finished, tmp_path):
    assert report.main([str(finished), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "1 grid, 1 measured" in page
    assert "selection by connectivity and CKA" in page
    assert (tmp_path / "report/three_regime_1.png").exists()


def test_dead_masks_count_in_the_errors_alone(finished):
    collected = stored(finished)
    dead = collected["rows"][0]
    dead |= {"train_error": 0.9, "lmc": 0.0, "lmc_clipped": 0.0, "cka": 0.0}
    assert results.is_dead(collected).sum() == 1
    means = results.over_seeds(results.living(collected, "cka"))
    assert means.n[0, 0] == 1
    assert means.mean[0, 0] > 0
    for row in collected["rows"]:
        row["train_error"] = 0.9
    assert set(results.regimes_of(collected).labels.ravel()) == {"dead"}


def test_command_prints_regimes_and_procedures(finished, capsys):
    assert regimes.main([str(finished), "--connectivity", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "Connected from LMC -0.5 up" in printed
    assert "Reconstructions" in printed
    assert "best fixed temperature" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--connectivity", "2"], "connectivity"),
        (["--dead", "nan"], "dead"),
    ],
)
def test_command_refuses_thresholds_in_one_line(finished, capsys, words, message):
    assert regimes.main([str(finished), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_command_refuses_what_is_no_grid(tmp_path, capsys):
    assert regimes.main([str(tmp_path)]) == 2
    assert "there is no run of three_regime" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"temperature": TemperatureConfig(values=(3.0,))}, "temperature.values"),
        ({"temperature": TemperatureConfig("batch_size", (16.0,))}, "dense.duration"),
        ({"densities": ()}, "densities"),
        ({"densities": (0.5, 0.5)}, "densities"),
        ({"densities": (0.0,)}, "densities"),
        ({"retrain_seeds": 1}, "retrain_seeds"),
        ({"dense_seeds": 0}, "dense_seeds"),
    ],
)
def test_grids_that_cannot_be(changes, field):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize("values", [(), (1.5,), (0.0,), (2.0, 2.0), (float("nan"),)])
def test_temperatures_that_cannot_be(values):
    with pytest.raises(ValueError, match=r"temperature\.values"):
        TemperatureConfig("stopping_epoch", values)


def test_a_density_that_keeps_nothing_is_one_line(tmp_path):
    nothing = dataclasses.replace(CONFIG, densities=(1e-6,))
    with pytest.raises(UserError, match="densities: 1e-06 keeps none"):
        run(nothing, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
