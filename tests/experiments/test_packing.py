"""Cells that train as one program: the files, the numbers and the ends of cells run alone."""

import json

import numpy as np
import pytest
import sweep_problem
from sweep_problem import FILE, get_sweep

from experiments import joint, run, sweep, together
from experiments.launch import Sweep, axis, cells, packing, zipped
from ntk_prune.checkpoint import load_tree

SHORT = Sweep(FILE, zipped(axis("prune.density", [0.2, 0.2, 0.4]), axis("seed", [0, 1, 1])))
# What training makes, to the rounding of float32, and the sizes of such files.
ROUNDED = {"params_final.safetensors", "metrics.jsonl", "DONE", "files.json", "learning_curves.png"}


def words_of(some):
    return [word for cell in some for word in ("--", *cell.words[2:])]


def alone(cell):
    assert run.main(list(cell.words[2:])) == 0
    return cell


def numbers(workdir):
    """What was logged, in order; the values, and the final weights."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    final = load_tree(workdir / "params_final.safetensors")["params"]
    weights = [leaf.ravel() for layer in final.values() for leaf in layer.values()]
    values = np.array([record["value"] for record in records])
    return [(r["step"], r["name"]) for r in records], np.concatenate([values, *weights])


def assert_same_run(a, b):
    """Masks, first weights and tables bit for bit; what training made to the rounding."""
    packed, single = (sweep_problem.content(cell.workdir) for cell in (a, b))
    assert sorted(packed) == sorted(single)
    for name in packed.keys() - ROUNDED:
        assert packed[name] == single[name], name
    (names, values), (expected_names, expected) = (numbers(cell.workdir) for cell in (a, b))
    assert names == expected_names
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)


def test_runs_as_one_program_are_those_of_runs_alone(tmp_path):
    packed = cells.resolve(SHORT, {}, tmp_path / "packed")
    assert together.main(words_of(packed)) == 0
    for a, b in zip(packed, cells.resolve(SHORT, {}, tmp_path / "alone"), strict=True):
        assert_same_run(a, alone(b))
    done = [(cell.workdir / "DONE").stat().st_mtime_ns for cell in packed]
    assert together.main(words_of(packed)) == 0, "what is finished is not redone"
    assert done == [(cell.workdir / "DONE").stat().st_mtime_ns for cell in packed]


def long(root):
    return cells.resolve(get_sweep("long"), {"train.duration": "4ep"}, root)[:2]


class Killed(Exception):
    pass


def killed_at(save, some, monkeypatch):
    """The runs together, killed at the ``save``-th checkpoint of all networks."""
    count = 0

    class Checkpoints(joint.Checkpoints):
        def save(self, step, tree):
            nonlocal count
            count += 1
            if count == save:
                raise Killed
            super().save(step, tree)

    with monkeypatch.context() as patch:
        patch.setattr(joint, "Checkpoints", Checkpoints)
        with pytest.raises(Killed):
            together.main(words_of(some))
    return some


def test_a_killed_program_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    """The kill comes between the checkpoints of the two networks."""
    killed, whole = killed_at(6, long(tmp_path / "killed"), monkeypatch), long(tmp_path / "b")
    assert list(packing.companions(killed[0], killed[1:])) == killed[1:]
    for some in (killed, whole):
        assert together.main(words_of(some)) == 0
    assert sweep_problem.runs(tmp_path / "killed") == sweep_problem.runs(tmp_path / "b")


def test_each_can_go_on_alone(tmp_path, monkeypatch):
    first, second = killed_at(5, long(tmp_path / "killed"), monkeypatch)
    other = long(tmp_path / "alone")
    assert_same_run(alone(first), alone(other[0]))
    assert not list(packing.companions(second, [other[1]])), "one is begun, the other is not"
    assert not list(packing.companions(first, [other[1]])), "one is trained"


def test_what_fits_differs_in_seed_and_pruning_alone(tmp_path):
    fields = [{"seed": 0}, {"seed": 1, "prune.name": "snip"}, {"train.momentum": 0.5},
              {"config": "configs/three_regime_digits.py:smoke"}]  # fmt: skip
    first, second, *others = cells.resolve(Sweep(FILE, fields), {}, tmp_path)
    assert list(packing.companions(first, [second, *others])) == [second]
    assert not list(packing.companions(others[1], [first, others[1]])), "it has no such program"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "no runs are given"),
        ([{"seed": 0}, {"train.momentum": 0.5}], "differs from "),
        ([{"config": "configs/three_regime_digits.py:smoke"}], "three_regime are not trained"),
    ],
)
def test_what_does_not_fit_is_one_line(fields, message, tmp_path, capsys):
    some = cells.resolve(Sweep(FILE, fields), {}, tmp_path) if fields else []
    assert together.main(words_of(some)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def networks_at_once(cell):
    lines = (cell.workdir / "timing.jsonl").read_text().splitlines()
    return {json.loads(line).get("networks") for line in lines} - {None}


def two_at_once(preset, root):
    """The words that run a preset of the sweep, two cells as one program."""
    return [f"{FILE}:{preset}", "--root", str(root), "--run", "--at_once", "2"]


def test_a_sweep_trains_cells_at_once(tmp_path, capsys):
    assert sweep.main(two_at_once("pair", tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "2/2 cell 2 (seed=1) finished" in printed
    assert "2 cells: 2 finished, 0 running, 0 failed, 0 waiting" in printed
    pair = cells.resolve(get_sweep("pair"), {}, tmp_path)
    assert [networks_at_once(cell) for cell in pair] == [{2}, {2}]


def test_cells_that_fail_together_are_run_alone(tmp_path, capsys):
    assert sweep.main(two_at_once("one_broken", tmp_path)) == 1
    printed = capsys.readouterr().out
    assert "2 cells: 1 finished, 0 running, 1 failed, 0 waiting" in printed
    assert "failed: cell 2 (seed=1 prune.density=1e-09): error: prune.density: " in printed
    assert networks_at_once(cells.resolve(get_sweep("one_broken"), {}, tmp_path)[0]) == {1}
