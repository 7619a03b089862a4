"""Lotteries in the report: branches beside their parents, common figures, stability."""

import json

import pytest

from experiments.report import lotteries, page
from experiments.report.lottery_figures import intervals
from experiments.report.runs import find

SECTIONS = {
    "model": {"name": "mlp", "options": {"widths": [12]}},
    "data": {"name": "digits", "augment": "none"},
}


def write(path, protocol, rows, seed=0, **fields):
    path.mkdir(parents=True)
    config = {"protocol": protocol, "seed": seed, **fields}
    (path / "config.json").write_text(json.dumps(config))
    (path / "results.json").write_text(json.dumps({"rows": rows}))
    (path / "DONE").write_text(json.dumps({"tickets": {"level": 1}}))
    return path


def rows(curve, barrier=None, rewind=None, replicates=2):
    found = []
    for level in (0, 1):
        for replicate in range(replicates):
            row = {
                "curve": curve, "replicate": replicate, "level": level, "density": 0.8**level,
                "test/accuracy": 0.9 - 0.1 * level, "early_stop/step": 10,
                "early_stop/accuracy": 0.9,
            }  # fmt: skip
            if barrier is not None:
                row |= {"barrier": barrier, "rewind": rewind, "t": [0, 1], "test/error": [0.1, 0.2]}
            found.append(row)
    return found


@pytest.fixture
def runs(tmp_path):
    """Two lotteries that differ in their rewind step, a branch from each, one of another seed."""
    for rewind, barrier in ((0, 0.3), (5, 0.1)):
        name = f"lottery_{rewind}"
        parent = write(
            tmp_path / name, "lottery", rows("tickets"), rewind=f"{rewind}it", **SECTIONS
        )
        found = rows("linear_connectivity", barrier, rewind)
        write(tmp_path / f"a_branch_{rewind}", "lottery_branch", found, parent=str(parent))
    write(tmp_path / "z", "lottery", rows("tickets"), seed=2, rewind="0it", **SECTIONS)
    return find([tmp_path])


def test_branches_follow_their_parents(runs):
    names = [run.path.name for run in lotteries.in_families(runs)]
    assert names == ["lottery_0", "a_branch_0", "lottery_5", "a_branch_5", "z"]


def test_a_parent_inside_its_branch_comes_first(tmp_path):
    write(tmp_path / "branch", "lottery_branch", rows("oneshot"), parent=None)
    write(tmp_path / "branch/parent", "lottery", rows("tickets"), **SECTIONS)
    found = lotteries.in_families(find([tmp_path]))
    assert [run.path.name for run in found] == ["parent", "branch"]


def test_runs_on_one_network_share_figures_and_seeds_are_replicates(runs):
    (network, frame), *others = lotteries._frames(runs)
    assert not others
    assert network.startswith("digits, mlp")
    tickets = frame[frame["curve"] == "tickets (rewind=0it)"]
    assert sorted(set(tickets["replicate"])) == [0, 1, 2, 3]
    assert [kind for kind, _, _ in lotteries.figures(runs)] == [
        "levels", "connectivity", "stability"
    ]  # fmt: skip


def test_the_page_has_them(runs, tmp_path):
    text = page.write(runs, tmp_path / "out").read_text()
    assert "barrier between two networks" in text
    assert (tmp_path / "out/lottery_3_stability.png").exists()


def test_levels_without_all_replicates_are_left_out():
    import pandas as pd

    frame = pd.DataFrame(rows("tickets"))
    frame.loc[0, "early_stop/step"] = float("nan")
    density, mean, half = intervals(frame, "density", "early_stop/step")
    assert (density.tolist(), mean.tolist(), half.tolist()) == ([0.8], [10], [0])
