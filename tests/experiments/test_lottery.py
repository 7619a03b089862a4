"""The protocol lottery: bookkeeping, an explicit loop, replicates, pretraining, strategies."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from lottery_problem import get_config, kept, load, lottery, part, same
from PIL import Image

from experiments import driver, factories, run
from experiments.config import DataConfig, TrainConfig, from_dict, to_dict
from experiments.factories import Recipe
from experiments.protocols.lottery.config import Lottery
from ntk_prune import lottery as levels
from ntk_prune import masks, training
from ntk_prune.pruners import magnitude
from ntk_prune.rng import stream


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return lottery(tmp_path_factory.mktemp("lottery") / "run")


def test_masks_are_nested_and_exact_and_survivors_are_the_rewind_weights(finished):
    for replicate in range(2):
        rewind = load(part(finished, replicate, 0), "rewind")
        before = load(part(finished, replicate, 0), "mask")
        n = kept(before)
        for level in (1, 2):
            here = part(finished, replicate, level)
            mask, start, final = (load(here, x) for x in ("mask", "rewind", "params_final"))
            assert kept(mask) == round(0.8**level * n)
            assert all(
                map(np.all, jax.tree.leaves(jax.tree.map(lambda a, b: b | ~a, mask, before)))
            )
            expected = jax.tree.map(lambda p, m: p * m, rewind["params"], mask)
            assert same(start["params"], expected)
            for w, m in zip(*map(jax.tree.leaves, (final["params"], mask)), strict=True):
                assert not w[~m].any()
            done = json.loads((here / "DONE").read_text())
            assert (done["nonzero"], done["step"]) == (kept(mask), 10)
            before = mask


def test_every_level_starts_at_the_rewind_step_with_its_moments(finished):
    for level in (0, 1, 2):
        state = load(part(finished, 0, level), "rewind")
        assert int(state["step"]) == 3
        assert any(np.any(m) for m in state["optimizer"].values())
        lines = (part(finished, 0, level) / "metrics.jsonl").read_text().splitlines()
        steps = [json.loads(line)["step"] for line in lines]
        assert sorted(set(steps)) == ([0] * (level == 0) + [3, 5, 10])
        assert steps[0] == (3 if level else 0)  # measured before it is trained


def test_replicates_share_nothing(finished):
    for level, name in ((0, "params_final"), (1, "rewind"), (1, "mask")):
        trees = [load(part(finished, r, level), name) for r in range(2)]
        for (_, a), (_, b) in zip(*(masks.leaves(t.get("params", t)) for t in trees), strict=True):
            assert (a != b).any()
    recipe = Recipe(get_config())
    feeds = [recipe.program((seed,)).feed for seed in (0, 1)]
    x = [np.asarray(next(iter(feed.batches(0, 1))).x) for feed in feeds]
    assert (x[0] != x[1]).any()


def explicit_loop(config, replicate_seeds=(0, 1)):
    """Iterative magnitude pruning of both replicates, written with the library alone."""
    recipe = Recipe(config)
    made = recipe.program(replicate_seeds)
    steps, rewind = recipe.steps(config.train.duration), recipe.steps(config.rewind)
    stack = lambda trees: jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)  # noqa: E731
    one = lambda tree, r: jax.tree.map(lambda leaf: leaf[r], tree)  # noqa: E731

    def train(state, stop):
        *_, last = training.fit(state, made.step, made.feed, stop, recipe.learning_rate)
        return jax.device_get(last.state)

    point = train(stack([recipe.initial(seed) for seed in replicate_seeds]), rewind)
    finals = [train(point, steps)]
    for level in range(1, config.levels + 1):
        starts = []
        for r, seed in enumerate(replicate_seeds):
            trained = one(finals[-1], r)
            batches = factories.score_batches(config.strategy, config.data, seed, recipe.dataset)
            mask, _ = levels.next_mask(
                jax.random.fold_in(stream(seed, "mask"), level), magnitude(), recipe.model,
                trained.params, trained.model_state, trained.mask, batches, 0.2, level,
            )  # fmt: skip
            starts.append(levels.rewind(one(point, r), mask))
        finals.append(train(stack(starts), steps))
    return finals


def test_the_protocol_is_the_explicit_loop(finished):
    for level, final in enumerate(explicit_loop(get_config())):
        for replicate in range(2):
            found = load(part(finished, replicate, level), "params_final")["params"]
            expected = jax.tree.map(lambda leaf, r=replicate: leaf[r], final.params)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected
            )


def test_one_by_one_is_the_same_as_together(finished, tmp_path):
    alone = lottery(tmp_path / "alone", "at_once=1")
    for level in range(3):
        for replicate in range(2):
            masks_, finals = (
                [load(part(run_, replicate, level), name) for run_ in (finished, alone)]
                for name in ("mask", "params_final")
            )
            assert same(*masks_)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *finals
            )


def test_a_later_replicate_is_the_run_of_its_seed(finished, tmp_path):
    second = lottery(tmp_path / "seed", "seed=1", "replicates=1", "levels=1")
    for name in ("mask", "rewind"):
        a, b = (load(part(d, r, 1), name) for d, r in ((finished, 1), (second, 0)))
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), a, b)


def test_the_fraction_is_honoured_and_random_masks_rescale(tmp_path):
    words = ("strategy.name=random_rescale_global", "strategy.fraction=0.5", "replicates=1")
    found = lottery(tmp_path / "run", *words, "train.duration=1ep")
    dense = load(part(found, 0, 0), "rewind")["params"]
    for level in (1, 2):
        mask, start = (load(part(found, 0, level), name) for name in ("mask", "rewind"))
        n = sum(m.size for _, m in masks.leaves(mask))
        assert kept(mask) == round(0.5**level * n)
        for (_, w), (_, d), (_, m) in zip(
            *(masks.leaves(t) for t in (start["params"], dense, mask)), strict=True
        ):
            np.testing.assert_allclose(w[m], d[m] * (n / kept(mask)) ** 0.5, rtol=1e-6)


def test_a_criterion_sees_trained_or_rewound_weights_at_every_level(tmp_path):
    words = ("strategy.name=snip", "strategy.num_examples=20", "strategy.batch_size=20")
    short = ("replicates=1", "levels=1", "train.duration=1ep")
    found = [
        lottery(tmp_path / where, *words, *short, f"strategy.weights={where}")
        for where in ("trained", "rewound")
    ]
    a, b = (load(part(d, 0, 1), "mask") for d in found)
    assert kept(a) == kept(b)
    assert not same(a, b)


@pytest.fixture
def three_classes(tmp_path):
    """A folder of 300 grey images of 8x8 pixels in three classes."""
    rng = np.random.default_rng(0)
    for index in range(300):
        for split in ("train", "test")[: 1 + (index < 30)]:
            file = tmp_path / f"images/{split}/{index % 3}/{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(file)
    return tmp_path / "images"


def test_pretraining_on_other_classes_leaves_the_weights_but_for_a_new_head(
    tmp_path, three_classes
):
    data = {"name": "folder", "data_dir": three_classes, "image_size": 8, "channels": 1}
    words = [f"pretraining.data.{name}={value}" for name, value in data.items()]
    words += ["pretraining.duration=1ep", "rewind=0ep", "replicates=1", "levels=0"]
    found = lottery(tmp_path / "run", *words)
    start = load(part(found, 0, 0), "rewind")["params"]
    before = load(found / "replicate_0/pretraining", "params_final")["params"]
    fresh = jax.device_get(Recipe(get_config()).initial(0).params)
    assert same(start["fc2"], fresh["fc2"])
    assert before["fc2"]["kernel"].shape == (8, 3)
    for name in ("fc0", "fc1"):
        assert same(start[name], before[name])


def test_pretraining_on_images_of_another_size_is_refused(tmp_path, capsys):
    words = ["--config.pretraining.duration=1ep", "--config.pretraining.data.image_size=16"]
    file = "tests/experiments/lottery_problem.py"
    assert run.main(["--config", file, "--workdir", str(tmp_path / "run"), *words]) == 2
    assert "fc0/kernel would be (256, 12) there and is (64, 12)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_rewind_step_after_the_end_is_refused(tmp_path, capsys):
    words = ["--workdir", str(tmp_path / "run"), "--config.rewind=3ep"]
    assert run.main(["--config", "tests/experiments/lottery_problem.py", *words]) == 2
    assert "rewind: 3ep is step 15 of a training of 10 steps" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("strategy", ["sparse_global", "sparse_layerwise"])
def test_levels_that_keep_nothing_are_refused(tmp_path, capsys, strategy):
    words = ["--config.strategy.fraction=0.9", f"--config.strategy.name={strategy}"]
    words += ["--workdir", str(tmp_path / "run"), "--config.levels=4"]
    assert run.main(["--config", "tests/experiments/lottery_problem.py", *words]) == 2
    assert "levels: level 4 would keep none of 944 weights" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_too_many_examples_are_refused_by_the_name_of_the_section(tmp_path, capsys):
    words = ["--config.strategy.name=snip", "--config.strategy.num_examples=5000"]
    command = ["--config", "tests/experiments/lottery_problem.py", *words]
    assert run.main([*command, "--workdir", str(tmp_path / "run")]) == 2
    assert "error: strategy: num_examples 5000 is more than" in capsys.readouterr().err


def test_an_unknown_name_in_a_stored_config_is_named():
    stored = to_dict(get_config())
    stored["strategy"]["name"] = "snipp"
    with pytest.raises(ValueError, match="'snipp'; did you mean 'snip'"):
        from_dict(Lottery, stored)


def test_a_config_comes_back_from_its_dict():
    config = get_config()
    assert from_dict(Lottery, json.loads(json.dumps(to_dict(config)))) == config


def test_a_finished_lottery_leaves_its_rows_and_figure(finished):
    rows = json.loads((finished / "results.json").read_text())["rows"]
    assert [(r["curve"], r["level"], r["replicate"]) for r in rows] == [
        ("tickets", level, replicate) for level in range(3) for replicate in range(2)
    ]
    assert {"test/accuracy", "early_stop/step", "density"} <= rows[0].keys()
    assert (finished / "levels.png").exists()
    assert not (finished / "checkpoints").exists()


def test_a_level_goes_on_in_its_middle(finished, tmp_path, monkeypatch):
    """What was trained before the interruption keeps the speeds that were logged then."""
    workdir = tmp_path / "run"
    whole = driver._record_epoch

    def interrupted(recipe, jobs, epoch, keep_at):
        if "level_1" in str(jobs[0].store.path) and epoch.step == 10:
            raise KeyboardInterrupt
        whole(recipe, jobs, epoch, keep_at)

    monkeypatch.setattr(driver, "_record_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lottery(workdir)
    timing = part(workdir, 0, 1) / "timing.jsonl"
    before = timing.read_text()
    assert '"step": 5' in before
    monkeypatch.setattr(driver, "_record_epoch", whole)
    lottery(workdir)
    assert timing.read_text().startswith(before)
    assert same(*(load(part(d, 0, 2), "params_final") for d in (finished, workdir)))


def test_streams_feed_replicates_side_by_side():
    train = TrainConfig(batch_size=4, num_devices=1)
    dataset = factories.load_data(DataConfig("digits_segmentation"))
    how = training.distribute(lambda *_: None, "jit", jax.devices()[:1], 2, replicates=2)  # pyright: ignore
    one = training.distribute(lambda *_: None, "jit", jax.devices()[:1], 2)  # pyright: ignore
    both = next(factories.make_feed(train, (3, 5), dataset, how).batches(1, 3))
    assert both.y.shape[:3] == (2, 2, 4)
    for r, seed in enumerate((3, 5)):
        alone = next(factories.make_feed(train, seed, dataset, one).batches(1, 3))
        np.testing.assert_array_equal(both.x[:, r], alone.x)
        np.testing.assert_array_equal(both.y[:, r], alone.y)
