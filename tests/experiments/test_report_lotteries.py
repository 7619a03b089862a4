"""Lotteries in the report: branches beside their parents, common figures, stability."""

import json

import numpy as np
import pytest

from experiments.protocols.lottery import figures, presentation, tables
from experiments.protocols.lottery.figures import intervals
from experiments.report import page
from experiments.runs import find, in_families

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
    filled = []
    for level in (0, 1):
        for replicate in range(replicates):
            row = {
                "curve": curve, "replicate": replicate, "level": level, "density": 0.8**level,
                "test/accuracy": 0.9 - 0.1 * level, "early_stop/step": 10,
                "early_stop/accuracy": 0.9,
            }  # fmt: skip
            if barrier is not None:
                row |= {"barrier": barrier, "rewind": rewind, "t": [0, 1], "test/error": [0.1, 0.2]}
            filled.append(row)
    return filled


@pytest.fixture
def runs(tmp_path):
    """Two lotteries that differ in their rewind step, a branch from each, one of another seed."""
    for rewind, barrier in ((0, 0.3), (5, 0.1)):
        name = f"lottery_{rewind}"
        parent = write(
            tmp_path / name, "lottery", rows("tickets"), rewind=f"{rewind}it", **SECTIONS
        )
        connected = rows("linear_connectivity", barrier, rewind)
        write(tmp_path / f"a_branch_{rewind}", "lottery_branch", connected, parent=str(parent))
    write(tmp_path / "z", "lottery", rows("tickets"), seed=2, rewind="0it", **SECTIONS)
    return find([tmp_path])


def test_branches_follow_their_parents(runs):
    names = [run.path.name for run in in_families(runs)]
    assert names == ["lottery_0", "a_branch_0", "lottery_5", "a_branch_5", "z"]


def test_a_parent_inside_its_branch_comes_first(tmp_path):
    write(tmp_path / "branch", "lottery_branch", rows("oneshot"), parent=None)
    write(tmp_path / "branch/parent", "lottery", rows("tickets"), **SECTIONS)
    runs = in_families(find([tmp_path]))
    assert [run.path.name for run in runs] == ["parent", "branch"]


def test_runs_on_one_network_share_figures_and_seeds_are_replicates(runs):
    (network, frame), *others = tables.frames(runs)
    assert not others
    assert network.startswith("digits, mlp")
    tickets = frame[frame["curve"] == "tickets (rewind=0it)"]
    assert sorted(set(tickets["replicate"])) == [0, 1, 2, 3]
    assert [named.name for named in presentation.present(runs).figures] == [
        "lottery_1_levels", "lottery_2_connectivity", "lottery_3_stability"
    ]  # fmt: skip


def test_the_page_has_them(runs, tmp_path):
    text = page.write(runs, tmp_path / "out").read_text()
    assert "barrier between two networks" in text
    assert (tmp_path / "out/lottery_3_stability.png").exists()


def test_a_network_in_several_runs_counts_once(runs, tmp_path):
    """Overlapping seeds, and a branch that was also run inside its lottery."""
    both = [*rows("tickets"), *rows("oneshot")]
    write(tmp_path / "again", "lottery", both, seed=1, rewind="0it", **SECTIONS)
    write(tmp_path / "b", "lottery_branch", rows("oneshot"), parent=str(tmp_path / "again"))
    ((_, frame),) = tables.frames(find([tmp_path]))
    for curve, seeds in (("tickets", [0, 1, 2, 3]), ("oneshot", [1, 2])):
        of_level = frame[(frame["curve"] == f"{curve} (rewind=0it)") & (frame["level"] == 1)]
        assert sorted(of_level["replicate"]) == seeds


def test_the_page_has_a_table_of_levels(runs):
    (section,) = presentation.present(runs).results
    (table,) = section.tables
    assert table.title.startswith("digits, mlp")
    assert table.heads[:4] == ["curve", "level", "density (%)", "test accuracy (%)"]
    assert ["tickets (rewind=0it)", "1", "80.00", "80.00 ± 0.00"] in [r[:4] for r in table.rows]
    assert table.rows[0][-2:] == ["\N{EN DASH}", "4"]


def test_lotteries_alone_leave_no_empty_sections(runs, tmp_path):
    text = page.write(runs, tmp_path / "out").read_text()
    assert "<p>5 runs.</p>" in text
    assert "No finished run" not in text


def test_connections_of_different_kinds_are_lines_of_their_own():
    import pandas as pd

    frame = pd.DataFrame([*rows("a", 0.1, 0), *rows("b", 0.3, 0), *rows("b", 0.3, 5)])
    frame["test/error"] = [[0.1, 0.2, 0.3] if c == "b" else [0.1, 0.2] for c in frame["curve"]]
    frame["t"] = [np.linspace(0, 1, len(e)).tolist() for e in frame["test/error"]]
    drawn = figures.connectivity(frame.drop_duplicates(["curve", "level", "replicate"]))
    assert len(drawn.axes[1].lines) == 4
    assert [text.get_text() for text in drawn.legends[0].texts] == ["a", "b"]
    lines = figures.stability(frame.assign(setting=frame["curve"])).axes[0]
    labels = lines.get_legend_handles_labels()[1]
    assert labels == [
        f"{c}, level {k}, density {d} %" for c in "ab" for k, d in ((0, 100), (1, 80))
    ]


def test_accuracies_are_shown_from_0_to_100():
    import pandas as pd

    frame = pd.DataFrame(rows("tickets"))
    frame["test/accuracy"] = [0.1, 0.9] * 2
    low, high = figures.levels(frame).axes[0].get_ylim()
    assert (low, high) == (-2, 102)


def test_levels_without_all_replicates_are_left_out():
    import pandas as pd

    frame = pd.DataFrame(rows("tickets"))
    frame.loc[0, "early_stop/step"] = float("nan")
    density, mean, half = intervals(frame, "density", "early_stop/step")
    assert (density.tolist(), mean.tolist(), half.tolist()) == ([0.8], [10], [0])
