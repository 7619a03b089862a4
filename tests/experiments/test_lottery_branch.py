"""Branches: what they start from, what they leave alone, and what they refuse."""

import json
import shutil

import jax
import numpy as np
import pytest
from lottery_problem import FILE, get_config, kept, load, lottery, part, same

from experiments import run
from experiments.protocols.lottery.branch_config import BranchConfig, LotteryBranch
from experiments.protocols.lottery.branch_run import find_tickets
from experiments.protocols.lottery.branches import BRANCHES
from experiments.protocols.lottery.config import Lottery
from ntk_prune import masks


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return lottery(tmp_path_factory.mktemp("branches") / "parent")


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    return lottery(tmp_path_factory.mktemp("branches") / "resnet", "levels=1", preset="resnet")


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "branch.py"
    file.write_text(
        "from experiments.protocols.lottery.branch_config import LotteryBranch\n"
        f"def get_config(): return LotteryBranch(recipe={FILE!r})\n"
    )
    return file


@pytest.fixture
def branch(tmp_path, config_file):
    """``branch(parent, name, *words)`` runs it on level 1 and returns its directory."""

    def go(parent, name, *words, levels="1"):
        workdir = tmp_path / f"{name}{len(list(tmp_path.iterdir()))}"
        flags = [f"parent={parent}", f"branch.name={name}", f"levels={levels}", *words]
        flags = [f"--config.{flag}" for flag in flags]
        assert run.main(["--config", str(config_file), "--workdir", str(workdir), *flags]) == 0
        return workdir

    return go


def both(parent, child, name, level=1, replicate=0):
    return [load(part(d, replicate, level), name) for d in (parent, child)]


def files(directory):
    return {p: p.stat().st_mtime_ns for p in directory.rglob("*")}


def test_reinitialised_networks_have_the_mask_and_other_weights(parent, branch):
    before = files(parent)
    child = branch(parent, "randomly_reinitialise")
    assert files(parent) == before
    old, mask = both(parent, child, "mask")
    assert same(old, mask)
    ticket, start = both(parent, child, "rewind")
    assert int(start["step"]) == int(ticket["step"]) == 3
    for (_, a), (_, b), (_, m) in zip(
        *(masks.leaves(t) for t in (ticket["params"], start["params"], mask)), strict=True
    ):
        assert not (a == b)[m].any()
        assert not b[~m].any()
    replicates = [load(part(child, r, 1), "rewind")["params"] for r in range(2)]
    assert not same(*replicates)


@pytest.fixture(scope="module")
def rescaled(tmp_path_factory):
    words = ("levels=1", "strategy.name=random_rescale_global")
    return lottery(tmp_path_factory.mktemp("branches") / "rescaled", *words, preset="resnet")


def test_what_is_drawn_anew_is_rescaled_as_the_strategy_says(rescaled, residual, branch):
    plain, scaled = (branch(p, "randomly_reinitialise") for p in (residual, rescaled))
    starts = [load(part(d, 0, 1), "rewind")["params"] for d in (plain, scaled)]
    a, b = (dict(masks.leaves(start))["fc/kernel"] for start in starts)
    both_kept = (a != 0) & (b != 0)
    density = masks.density(load(part(scaled, 0, 1), "mask"))
    np.testing.assert_allclose(b[both_kept], a[both_kept] / np.sqrt(density), rtol=1e-6)

    options = [f"branch.options.{word}" for word in ("depth=14", "shuffle_copies=True")]
    child = branch(rescaled, "change_depth", *options)
    start, mask = (load(part(child, 0, 1), name) for name in ("rewind", "mask"))
    dense = load(part(rescaled, 0, 0), "rewind")["params"]["blocks_0"]
    kept_dense = jax.tree.map(lambda p, m: p * m, dense, mask["blocks_0"])
    for (_, w), (_, p) in zip(
        masks.leaves(start["params"]["blocks_0"]), masks.leaves(kept_dense), strict=True
    ):
        np.testing.assert_allclose(w, p / np.sqrt(masks.density(mask)), rtol=1e-6)


def test_another_seed_of_the_branch_draws_other_weights(parent, branch):
    found = [branch(parent, "randomly_reinitialise", f"seed={seed}") for seed in (0, 1)]
    assert not same(*(load(part(d, 0, 1), "rewind")["params"] for d in found))


def test_random_masks_lie_on_the_rewind_weights(parent, branch):
    child = branch(parent, "randomly_prune", "branch.options.scope=global")
    old, mask = both(parent, child, "mask")
    assert kept(old) == kept(mask)
    assert not same(old, mask)
    dense = load(part(parent, 0, 0), "rewind")["params"]
    start = load(part(child, 0, 1), "rewind")["params"]
    assert same(start, jax.tree.map(lambda p, m: p * m, dense, mask))


def test_one_shot_prunes_the_trained_dense_network(parent, branch):
    """At the first level that is iterative pruning; at the second it differs."""
    child = branch(parent, "oneshot", levels="1 2")
    assert same(*both(parent, child, "mask"))
    assert same(*both(parent, child, "rewind"))
    first, second = (load(part(child, 0, level), "mask") for level in (1, 2))
    assert not same(*both(parent, child, "mask", level=2))
    assert kept(second) == round(0.64 * kept(masks.ones_like(first)))


@pytest.mark.parametrize("step", ["0it", "2it", "3it", "7it"])
def test_early_pruning_goes_on_from_the_early_step(parent, branch, step):
    child = branch(parent, "prune_early", f"branch.options.step={step}")
    early = load(child / "replicate_0/early", "early")
    start, mask = (load(part(child, 0, 1), name) for name in ("rewind", "mask"))
    assert int(early["step"]) == int(start["step"]) == int(step[0])
    assert same(start["params"], jax.tree.map(lambda p, m: p * m, early["params"], mask))
    magnitudes = np.concatenate([np.abs(w).ravel() for _, w in masks.leaves(early["params"])])
    alive = np.concatenate([m.ravel() for _, m in masks.leaves(mask)])
    assert magnitudes[alive].min() >= magnitudes[~alive].max()


def test_a_retrained_ticket_differs_by_its_changes_alone(parent, branch):
    child = branch(parent, "retrain", "changes=train.duration=3ep")
    assert same(*both(parent, child, "rewind"))
    assert json.loads((part(child, 0, 1) / "DONE").read_text())["step"] == 15
    shorter = branch(parent, "retrain", "changes=train.eval_batch_size=90")
    assert same(*both(parent, shorter, "params_final"))


def test_another_update_rule_starts_without_moments(parent, branch):
    child = branch(parent, "retrain", "changes=train.optimizer=adam")
    ticket, start = both(parent, child, "rewind")
    assert same(ticket["params"], start["params"])
    assert not any(np.any(m) for m in start["optimizer"].values() if np.ndim(m))


def test_wider_networks_have_split_units_or_weights_of_their_own(parent, branch):
    mask = load(part(parent, 0, 1), "mask")
    for name in ("increase_width", "widen_mask"):
        child = branch(parent, name)
        wide, start = (load(part(child, 0, 1), x) for x in ("mask", "rewind"))
        assert wide["fc1"]["kernel"].shape == (24, 16)
        np.testing.assert_array_equal(wide["fc1"]["kernel"][::2, ::2], mask["fc1"]["kernel"])
        assert masks.layer_densities(wide) == masks.layer_densities(mask)
        for (_, w), (_, m) in zip(*map(masks.leaves, (start["params"], wide)), strict=True):
            assert not w[~m].any()


def test_a_deeper_network_repeats_blocks_and_is_a_parent_itself(residual, branch):
    child = branch(residual, "change_depth", "branch.options.depth=20")
    ticket, start = both(residual, child, "rewind")
    assert same(start["params"]["blocks_2"], ticket["params"]["blocks_1"])
    assert find_tickets(child).config.model.options.depth == 20  # pyright: ignore
    line = branch(child, "linear_connectivity", "branch.options.points=3")
    found = json.loads((part(line, 0, 1) / "connectivity.json").read_text())
    ends = [json.loads((part(d, 0, 1) / "DONE").read_text()) for d in (child, line)]
    expected = [1 - end["test/accuracy"] for end in ends]
    assert [found["test/error"][0], found["test/error"][-1]] == pytest.approx(expected)


def test_a_line_between_levels_trains_nothing(residual, branch):
    words = ("branch.options.between=levels", "branch.options.batch_norm=reestimated")
    child = branch(residual, "linear_connectivity", "branch.options.points=3", *words)
    found = json.loads((part(child, 0, 1) / "connectivity.json").read_text())
    assert found["barrier"] >= 0
    assert not (part(child, 0, 1) / "params_final.safetensors").exists()
    assert (child / "connectivity.png").exists()


def test_copies_for_connectivity_see_another_order(parent, branch):
    child = branch(parent, "linear_connectivity", "branch.options.points=3", levels="0")
    assert same(*both(parent, child, "rewind", level=0))
    assert not same(*both(parent, child, "params_final", level=0))


def test_branches_inside_a_lottery_are_the_branches_of_the_command(tmp_path, branch, parent):
    inside = lottery(tmp_path / "inside", "branches=randomly_prune")
    child = branch(parent, "randomly_prune", levels="1 2")
    for level in (1, 2):
        a, b = (part(d, 0, level) for d in (inside / "branches/randomly_prune", child))
        assert same(load(a, "params_final"), load(b, "params_final"))
    rows = json.loads((inside / "results.json").read_text())["rows"]
    assert [r["level"] for r in rows if r["curve"] == "randomly_prune"] == [1, 1, 2, 2]


def test_masks_of_several_levels_train_as_one_program(parent, branch):
    words = ("randomly_prune", "branch.options.scope=even")
    apart = branch(parent, *words, levels="1 2")
    together = branch(parent, *words, "changes=at_once=4", levels="1 2")
    for level in (1, 2):
        a, b = (load(part(d, 1, level), "params_final") for d in (apart, together))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b)
        timing = (part(together, 1, level) / "timing.jsonl").read_text()
        assert '"networks": 4' in timing


def test_a_branch_without_parent_makes_one(tmp_path, config_file):
    workdir = tmp_path / "run"
    words = ["--config", str(config_file), "--workdir", str(workdir), "--config.levels=1"]
    assert run.main(words) == 0
    assert (workdir / "parent/DONE").exists()
    assert (workdir / "levels.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["branch.name=retrain"], "changes: without any, retrain would repeat its parent"),
        (["levels=5"], r"levels: \[5\] of \[0, 1, 2\]"),
        (["branch.name=change_depth"], "of CIFAR ResNets, not of mlp"),
        (["branch.name=retrain", "changes=data.nam=digits"], "did you mean 'data.name'"),
        (["parent=nowhere"], "parent: there is no run in nowhere"),
        (["branch.name=prune_early", "branch.options.step=3ep"], "3ep comes after 2ep, the end"),
        (["branch.name=prune_early", "branch.options.step=3"], "options.step: .*'500it', got '3'"),
        (["branch.name=oneshott"], "did you mean 'oneshot'"),
        (["branch.name=change_depth", "branch.options.depth=21"], "6n\\+2"),
        (["branch.name=oneshot", "branch.options.strategy=snipp"], "strategy"),
        (["branch.name=retrain", "changes=replicates=3"], "3 replicates of a parent that has 2"),
        (["branch.name=retrain", "changes=rewind=1ep"], "changes: expected a field of seed, model"),
        (
            ["branch.name=retrain", "changes=train.duration=2it"],
            "ends at step 2, .* start at st.* 3",
        ),
        (
            ["branch.name=retrain", "changes=model.options.widths=12,9"],
            "fc1/bias would be .9,. in the ch",
        ),
        (["branch.name=retrain", "changes=data.image_size=16"], "fc0/kernel would be .256, 12"),
        (
            ["branch.name=linear_connectivity", "branch.options.between=levels", "levels=0"],
            r"levels: before \[0\] there is none of \[0, 1, 2\]",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    parent, config_file, tmp_path, capsys, words, message
):
    flags = [f"--config.{word}" for word in words]
    if not any(word.startswith("parent") for word in words):
        flags.append(f"--config.parent={parent}")
    workdir = tmp_path / "run"
    assert run.main(["--config", str(config_file), "--workdir", str(workdir), *flags]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert __import__("re").search(message, error)
    assert not workdir.exists()


def test_a_level_given_twice_is_trained_once(parent, branch):
    child = branch(parent, "randomly_reinitialise", levels="1 1")
    lines = (part(child, 0, 1) / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("name", ["randomly_prune", "oneshot", "prune_early"])
def test_branches_that_need_the_dense_network_say_so_where_the_parent_has_none(
    parent, branch, config_file, tmp_path, capsys, name
):
    child = branch(parent, "randomly_reinitialise")
    flags = [f"--config.parent={child}", f"--config.branch.name={name}"]
    workdir = tmp_path / "run"
    assert run.main(["--config", str(config_file), "--workdir", str(workdir), *flags]) == 2
    error = capsys.readouterr().err
    assert "level 0 of replicate 0 is not in" in error
    assert "which has the levels [1]" in error
    assert not workdir.exists()


def test_a_line_between_levels_leaves_out_those_without_a_level_before(parent, branch):
    child = branch(parent, "randomly_reinitialise", levels="1 2")
    words = ("branch.options.between=levels", "branch.options.points=3")
    line = branch(child, "linear_connectivity", *words, levels="")
    rows = json.loads((line / "results.json").read_text())["rows"]
    assert [row["level"] for row in rows] == [2, 2]


def test_one_shot_rescales_by_its_own_strategy(parent, branch):
    child = branch(parent, "oneshot", "branch.options.strategy=random_rescale_global")
    mask, start = (load(part(child, 0, 1), name) for name in ("mask", "rewind"))
    dense = load(part(parent, 0, 0), "rewind")["params"]
    w, d, m = (tree["fc0"]["kernel"] for tree in (start["params"], dense, mask))
    np.testing.assert_allclose(w[m], d[m] / masks.density(mask) ** 0.5, rtol=1e-6)


def test_a_branch_that_cannot_be_does_not_make_its_parent(config_file, tmp_path, capsys):
    workdir = tmp_path / "run"
    for word, message in (("branch.name=change_depth", "of CIFAR"), ("levels=7", "levels: [7]")):
        words = ["--config", str(config_file), "--workdir", str(workdir), f"--config.{word}"]
        assert run.main(words) == 2
        assert message in capsys.readouterr().err
        assert not workdir.exists()


def test_a_damaged_parent_is_one_line(parent, config_file, tmp_path, capsys):
    broken = tmp_path / "parent"
    shutil.copytree(parent, broken)
    flags = [f"--config.parent={broken}", "--config.levels=1", "--workdir", str(tmp_path / "run")]
    for damage in (lambda file: file.write_bytes(b"no tensors"), lambda file: file.unlink()):
        damage(part(broken, 0, 1) / "mask.safetensors")
        assert run.main(["--config", str(config_file), *flags]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "replicate_0/level_1/mask.safetensors" in line


def test_changes_take_lists():
    config = LotteryBranch(changes=("train.drops=1ep", "2ep", "seed=3"))
    assert config.changed() == {"train.drops": "1ep,2ep", "seed": "3"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["branches=retrain"], "branches: retrain takes changes"),
        (["branches=change_depth"], "branches: change_depth: the depth is changed of CIFAR"),
        (["branches=oneshot", "levels=0"], "levels: expected 1 to 65536, got 0"),
    ],
)
def test_branches_that_cannot_follow_are_refused_before_the_lottery(
    tmp_path, capsys, words, message
):
    flags = [f"--config.{word}" for word in words]
    assert run.main(["--config", FILE, "--workdir", str(tmp_path / "run"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_every_branch_has_options_that_can_be_made():
    for name in BRANCHES:
        assert LotteryBranch(branch=BranchConfig(name)).branch.options is not None
    assert isinstance(get_config(), Lottery)
