"""Run directories made by version 0.1.0 at commit 29ccec6 stay readable; their arrays are left out.

``ntksap_mlp`` is ``configs/ntksap_mlp.py:smoke``; ``oneshot_branch`` is the preset ``oneshot`` of
``configs/lottery_branch.py``, which holds its parent, a lottery.
"""

from pathlib import Path

import pytest

from experiments import runs
from experiments.protocols import PROTOCOLS
from experiments.report import page

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture(scope="module")
def recorded():
    return {str(run.path.relative_to(RECORDED)): run for run in runs.find([RECORDED])}


@pytest.fixture(scope="module")
def shown(recorded):
    """What the two workflows show of their runs."""
    pruned, branch, parent = recorded.values()
    return {
        "pruned": PROTOCOLS["prune_and_train"].figures([pruned], ()),
        "lottery": PROTOCOLS["lottery"].figures([branch, parent], ()),
    }


def table(presentation, title):
    """The only table of a section."""
    sections = [*presentation.results, *presentation.details]
    ((only,),) = [section.tables for section in sections if section.title == title]
    return only


def test_they_are_read(recorded):
    assert list(recorded) == ["ntksap_mlp", "oneshot_branch", "oneshot_branch/parent"]
    run = recorded["ntksap_mlp"]
    assert (run.finished, run.seed, run.hardware) == (
        True, 0, "Intel(R) Xeon(R) Processor, 2 cores",
    )  # fmt: skip
    assert run.last("test/accuracy") == 0.475
    assert run.pruning["kept"] == 2586
    assert [r.path.name for r in runs.in_families(list(recorded.values()))] == [
        "ntksap_mlp", "parent", "oneshot_branch",
    ]  # fmt: skip


def test_results_of_a_pruned_network(shown):
    (row,) = table(shown["pruned"], "Results").rows
    assert row[2:] == ["ntksap", "10.00", "10.00", "47.50", "1"]


def test_layers_of_a_pruned_network(shown):
    layers = table(shown["pruned"], "Layers")
    assert layers.title == "ntksap at 10.00 %: digits, mlp widths=128-128 activation=relu bias=True"
    assert [row[3:] for row in layers.rows] == [
        ["1,299", "15.86"],
        ["926", "5.65"],
        ["361", "28.20"],
    ]


def test_levels_of_a_lottery_and_its_branch(shown):
    levels = table(shown["lottery"], "Lotteries")
    by_curve = {(row[0], row[1]): row[2:] for row in levels.rows}
    assert {curve for curve, _ in by_curve} == {
        "tickets", "randomly_reinitialise", "randomly_prune", "oneshot",
    }  # fmt: skip
    # Two replicates, so the half width is 12.706 times half their difference.
    assert by_curve[("oneshot", "1")][:2] == ["80.00", "97.92 ± 1.76"]
    assert by_curve[("oneshot", "2")] == [
        "64.00", "98.06 ± 0.00", "98.06 ± 0.00", "92.00 ± 0.00", "46.00 ± 0.00", "2",
    ]  # fmt: skip


def test_the_report_has_all_of_it(recorded, tmp_path):
    html = page.write(list(recorded.values()), tmp_path).read_text()
    assert "1 run, 1 finished, 2 of other protocols" in html
    assert {path.stem for path in tmp_path.glob("*.png")} == {
        "layer_density", "learning_curves", "lottery_1_levels",
    }  # fmt: skip
    for text in ("97.92 ± 1.76", "29ccec6b07a1", "lottery_branch, seed 0"):
        assert text in html
