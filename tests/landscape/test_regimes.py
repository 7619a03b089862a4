"""Regimes, their boundaries, and the procedures that rest on them."""

import numpy as np
import pytest

from experiments.references.published_grids import load_grids
from ntk_prune import landscape
from ntk_prune.landscape import regimes, selection

LMC = np.array([[-0.05, 0.0, 0.0], [-0.3, -0.02, 0.0], [-0.6, -0.2, 0.0]])
CKA = np.array([[0.5, 0.7, 0.8], [0.4, 0.8, 0.9], [0.3, 0.6, 0.95]])


def test_regimes_by_their_thresholds():
    grid = landscape.classify(LMC, CKA)
    assert grid.similarity == np.median([0.5, 0.7, 0.8, 0.8, 0.9, 0.95])
    assert grid.labels.tolist() == [
        ["II-A", "II-A", "II-B"], ["I", "II-B", "II-B"], ["I", "I", "II-B"],
    ]  # fmt: skip
    assert set(landscape.classify(LMC, CKA, connectivity=0.7, similarity=0.99).labels.flat) == {
        "II-A"
    }
    assert set(landscape.classify(LMC - 1, CKA).labels.flat) == {"I"}
    assert landscape.classify(LMC - 1, CKA).similarity is None


def test_dead_and_missing_cells_have_no_regime():
    error = np.array([[0.88, 0.1, 0.1]] + [[0.1] * 3] * 2)
    lmc = LMC.copy()
    lmc[1, 2] = np.nan
    grid = landscape.classify(lmc, CKA, dead=landscape.dead_cells(error, 10))
    assert grid.labels[0, 0] == "dead"
    assert grid.labels[1, 2] == ""
    assert (
        landscape.classify([[0, 0, 0]], [[0.1, 0.5, 0.9]], dead=error[:1] > 0.8).similarity == 0.7
    )
    assert not landscape.dead_cells(np.array(0.45), 10)
    assert landscape.dead_cells(np.array(0.46), 2)
    with pytest.raises(ValueError, match="differ in shape"):
        landscape.classify(LMC, CKA[:2])


def test_boundaries_part_the_regimes():
    lines = landscape.boundaries(landscape.classify(LMC, CKA).labels)
    # I lies below the first row in the first column and below the second in the second.
    expected = {((-0.5, 0.5), (0.5, 0.5)), ((0.5, 0.5), (0.5, 1.5)), ((0.5, 1.5), (1.5, 1.5)),
                ((1.5, 1.5), (1.5, 2.5))}  # fmt: skip
    assert {tuple(map(tuple, s)) for s in lines.connectivity.tolist()} == expected
    expected = {((1.5, -0.5), (1.5, 0.5)), ((0.5, 0.5), (1.5, 0.5))}
    assert {tuple(map(tuple, s)) for s in lines.similarity.tolist()} == expected
    none = landscape.boundaries(np.array([["I", regimes.DEAD, "II-B", regimes.MISSING, "II-A"]]))
    assert none.connectivity.shape == none.similarity.shape == (0, 2, 2)


def test_tuning_follows_the_directions_to_the_boundary():
    column = [0.0, -0.01, -0.3, -0.5]
    assert selection.tune(column, 3) == (1, [3, 2, 1])
    assert selection.tune(column, 0) == (1, [0, 1, 2])
    assert selection.tune([-0.5, -0.4], 1) == (0, [1, 0])
    assert selection.tune([0.0, 0.0], 0) == (1, [0, 1])
    assert selection.tune([np.nan, -0.3, -0.5], 2) == (1, [2, 1])
    for start in (0, 3):
        with pytest.raises(ValueError, match="measured row"):
            selection.tune([np.nan, -0.3, -0.5], start)


def test_selection_takes_the_best_of_the_connected():
    assert selection.select_by_connectivity(LMC).tolist() == [0, 1, 2]
    dense = np.array([0.1, 0.2, 0.3])
    assert selection.select_by_connectivity(LMC, dense).tolist() == [0, 0, 0]
    assert selection.select_by_similarity(LMC, CKA).tolist() == [0, 1, 2]
    assert selection.select_by_similarity(LMC - 1, CKA).tolist() == [0, 0, 0]  # largest LMC
    unmeasured = np.where([True, False, True], LMC, np.nan)
    with pytest.raises(ValueError, match="column 1"):
        selection.select_by_similarity(unmeasured, CKA)
    some = np.where(np.eye(3) > 0, np.nan, LMC)
    assert selection.select_by_connectivity(some).tolist() == [1, 0, 1]


PUBLISHED = {  # cut: cells of right direction, regret of selection by LMC and by CKA (mean, worst)
    0.02: (82, (0.0043, 0.0150), (0.0047, 0.0150)),
    0.05: (86, (0.0040, 0.0150), (0.0036, 0.0150)),
    0.10: (89, (0.0024, 0.0060), (0.0019, 0.0060)),
    0.20: (86, (0.0033, 0.0100), (0.0019, 0.0060)),
    0.30: (84, (0.0040, 0.0140), (0.0019, 0.0060)),
}


@pytest.mark.parametrize("cut", PUBLISHED)
def test_procedures_on_the_digitised_grid(cut):
    error, lmc, cka = (
        load_grids("three_regime_fig2").grids[name].values for name in ("test_error", "lmc", "cka")
    )
    right, by_lmc, by_cka = PUBLISHED[cut]
    assert selection.right_directions(error, lmc, cut, 0.0015) == (right, 105)
    for rows, (mean, worst) in [
        (selection.select_by_connectivity(lmc, cut=cut), by_lmc),
        (selection.select_by_similarity(lmc, cka, cut), by_cka),
    ]:
        above = selection.regret(error, rows)
        assert (above.mean().round(4), above.max().round(4)) == (mean, worst)


def test_baselines_on_the_digitised_grid():
    published = load_grids("three_regime_fig2")
    grids = [published.grids[name].values[None] for name in ("test_error", "lmc", "cka")]
    outcomes = selection.compare_procedures(*grids)
    longest, best = outcomes["lowest temperature"], outcomes["best fixed temperature"]
    assert longest.regret == (pytest.approx(0.0153, abs=5e-5), None, 1)
    assert longest.worst == pytest.approx(0.033)
    assert published.temperatures[best.rows[0, 0]] == 80
    assert best.regret.mean == pytest.approx(0.0006, abs=5e-5)
    assert best.worst == pytest.approx(0.001)
    assert best.over_fixed.mean == 0
    similar = outcomes["selection by connectivity and CKA"]
    assert similar.over_fixed.mean == pytest.approx(similar.regret.mean - best.regret.mean)


def test_outcomes_are_means_over_seeds_with_paired_errors():
    shift = np.array([0.0, 0.1, 0.3])[:, None, None]  # the same for all temperatures of a seed
    error = np.array([[0.2, 0.1], [0.1, 0.1], [0.3, 0.2]]) + shift
    error[0, 2, 1] = 0.05  # the best of its seed, not of the mean
    error[2, 0, 0] += 0.3
    lmc = np.broadcast_to(LMC[:, :2], error.shape)
    outcomes = selection.compare_procedures(
        error, lmc, np.broadcast_to(CKA[:, :2], error.shape), np.zeros((3, 3))
    )
    assert outcomes["best fixed temperature"].rows.tolist() == [[1, 1]] * 3
    tuned = outcomes["temperature tuning"]  # above the best: 0.1, 0.1, 0.4 and 0, 0, 0
    assert tuned.rows.tolist() == [[0, 1]] * 3
    assert tuned.regret == (pytest.approx(0.1), pytest.approx(0.05), 3)
    assert tuned.worst == pytest.approx(0.2)
    assert tuned.over_fixed == (pytest.approx(0.1), pytest.approx(0.05), 3)
    assert selection.seed_mean([0.1, 0.3]).sem == pytest.approx(0.1)
    with pytest.raises(ValueError, match="is missing"):
        selection.compare_procedures(np.where(error > 0.5, np.nan, error), lmc, lmc)
    with pytest.raises(ValueError, match="differ"):
        selection.compare_procedures(error, lmc[1:], lmc)
