"""Random pruning against theory: the plan of the published simulation, resuming, what is stored."""

import dataclasses
import importlib
import json

import pytest

from configs.random_pruning_theory import get_config
from experiments.protocols.random_pruning.config import RandomPruning
from experiments.protocols.random_pruning.run import Cell, cells, inputs, ntk_theory, row
from experiments.store import Store
from ntk_prune.ntk.random_pruning import FullyConnected

protocol = importlib.import_module("experiments.protocols.random_pruning.run")

TINY = RandomPruning(
    sweep_widths=(4,),
    sweep_networks=3,
    scaling_width=4,
    scaling_densities=(1.0, 0.5),
    scaling_exponents=(1.0, 2.0),
    scaling_min_densities=(0.5, 1.0),
    scaling_networks=3,
    law_widths=(4, 32),
    law_densities=(1.0, 0.5),
    law_networks=200,
    cnn_channels=(),
)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(protocol, "draw_figures", lambda *_: None)


def contents(path):
    return {p.name: p.read_bytes() for p in path.rglob("*.json") if p.name != "env.json"}


def test_the_plan_is_the_published_simulation():
    plan = list(cells(get_config()))
    assert len({cell.name for cell in plan}) == len(plan)
    by_experiment = {}
    for cell in plan:
        by_experiment.setdefault(cell.experiment, []).append(cell)
    for experiment in ("sweep_dense", "sweep_pruned", "sweep_input_pruned"):
        found = by_experiment[experiment]
        assert [c.network.width for c in found] == [2**k for k in range(5, 14)]
        assert {c.num_networks for c in found} == {64}
    linear = [(c.network.density, c.network.width) for c in by_experiment["scaling_1"]]
    assert linear[0] == (1.0, 1024)
    assert linear[4] == (0.5, 2048)
    assert linear[-1] == (0.125, 8192)
    quadratic = [c.network for c in by_experiment["scaling_2"]]
    assert (quadratic[-1].density, quadratic[-1].width) == (0.5, 4096)
    assert {c.num_networks for c in by_experiment["scaling_2"]} == {100}


def test_inputs_are_the_recorded_pair():
    x1, x2 = inputs(RandomPruning(), FullyConnected(4))
    assert float(x1 @ x2) == pytest.approx(0.7687972123753375, rel=1e-6)
    assert float(x1 @ x1) == pytest.approx(1, rel=1e-6)


def test_a_killed_run_redoes_no_cell_and_ends_alike(tmp_path, monkeypatch):
    ntk_theory(TINY, Store(tmp_path / "whole", TINY))
    run_cell, done = protocol.run_cell, []

    def dying(config, store, cell):
        if len(done) == 2:
            raise KeyboardInterrupt
        run_cell(config, store, cell)
        done.append(cell.name)

    monkeypatch.setattr(protocol, "run_cell", dying)
    killed = Store(tmp_path / "killed", TINY)
    with pytest.raises(KeyboardInterrupt):
        ntk_theory(TINY, killed)
    assert not killed.has("DONE")
    first = {name: (killed.path / f"cells/{name}.json").stat().st_mtime_ns for name in done}
    monkeypatch.setattr(protocol, "run_cell", run_cell)
    ntk_theory(TINY, killed)
    assert killed.done is not None
    for name, written in first.items():
        assert (killed.path / f"cells/{name}.json").stat().st_mtime_ns == written
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_seeds_differ(tmp_path):
    cell = Cell("sweep_pruned", FullyConnected(4, density=0.5), 3)
    kernels = []
    for seed in (0, 1):
        config = dataclasses.replace(TINY, seed=seed)
        store = Store(tmp_path / str(seed), config)
        protocol.run_cell(config, store, cell)
        kernels.append(store.read_json(cell.file)["kernels"])
    assert kernels[0] != kernels[1]


def test_row_rescales():
    stored = {
        "experiment": "law",
        "width": 4,
        "density": 0.5,
        "limit_pruned": 0.25,
        "limit": 2.0,
        "rescaling": 8.0,
        "kernels": [0.2, 0.3],
    }
    found = row(stored)
    assert found["rescaled"]["mean"] == pytest.approx(8 * found["pruned"]["mean"])
    assert found["rescaled"]["mad"] == pytest.approx(0.4)
    json.dumps(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sweep_density": 0.0}, "sweep_density"),
        ({"scaling_networks": 1}, "at least 2"),
        ({"law_widths": (64,)}, "at least two"),
        ({"scaling_min_densities": (0.5,)}, "one for each"),
        ({"cnn_channels": (0,)}, "positive widths"),
    ],
)
def test_bad_configs(options, message):
    with pytest.raises(ValueError, match=message):
        RandomPruning(**options)
