"""The training driver: alone and together, observers, what is kept, shared data, resuming."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from lottery_problem import get_config, load, same

from experiments.comparison import measure_line
from experiments.driver import TrainingJob, load_state, train_all, train_one
from experiments.errors import UserError
from experiments.factories import Recipe
from experiments.store import Store

SEEDS = (0, 1)
KEPT = {"first": "start", "middle": 7}


@pytest.fixture(scope="module")
def recipe():
    return Recipe(get_config())


@pytest.fixture(scope="module")
def alone(recipe):
    return with_at_once(recipe, 1)


def with_at_once(recipe, number):
    return Recipe(dataclasses.replace(recipe.config, at_once=number))


def jobs(recipe, path, observers=()):
    store = Store(path, recipe.config)
    return [
        TrainingJob(
            store.within(str(seed)), seed, functools.partial(recipe.initial, seed), observers
        )
        for seed in SEEDS
    ]


def run(recipe, path, observers=(), **options):
    todo = jobs(recipe, path, observers)
    train_all(recipe, todo, Store(path, recipe.config), "all", **options)
    return todo


def norm(state):
    """An observer."""
    return {"norm": sum(float((w**2).sum()) for w in jax.tree.leaves(state.params))}


@pytest.fixture(scope="module")
def together(recipe, tmp_path_factory):
    return run(recipe, tmp_path_factory.mktemp("together"), (norm,), keep=KEPT)


def test_a_network_alone_is_the_network_among_others(together, alone, tmp_path):
    for a, b in zip(together, run(alone, tmp_path), strict=True):
        finals = [load(job.store.path, "params_final") for job in (a, b)]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), *finals)


def test_one_network_is_a_list_of_one(alone, tmp_path):
    (whole, _), (single, _) = run(alone, tmp_path / "a"), jobs(alone, tmp_path / "b")
    numbers = train_one(alone, single)
    assert not single.store.has("DONE")
    assert numbers == whole.store.read_json("DONE")
    for name in ("params_final.safetensors", "metrics.jsonl", "mask.safetensors"):
        files = [job.store.path / name for job in (whole, single)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert not list(tmp_path.rglob("checkpoints"))


def test_the_start_the_epochs_and_the_early_stop_are_recorded(together):
    for job in together:
        # Seven steps is in the middle of the second epoch, where a state is kept.
        assert [step for step, _ in job.store.logged("test/loss")] == [0, 5, 7, 10]
        assert [step for step, _ in job.store.logged("norm")] == [0, 5, 7, 10]
        losses = dict(job.store.logged("test/loss"))
        done = job.store.read_json("DONE")
        assert losses[done["early_stop/step"]] == min(losses.values())
        assert (done["step"], done["test/n"]) == (10, 360)


def test_observers_see_the_network_of_their_job(together):
    for job in together:
        final = load(job.store.path, "params_final")["params"]
        expected = sum(float((w**2).sum()) for w in jax.tree.leaves(final))
        assert job.store.logged("norm")[-1][1] == pytest.approx(expected, rel=1e-6)


def test_a_kept_state_goes_on_to_the_same_end(together, recipe, tmp_path):
    def start(job):
        return load_state(job.store, "middle", job.store.load("mask"), recipe.optimizer)

    store = Store(tmp_path, recipe.config)
    later = [
        TrainingJob(store.within(str(job.seed)), job.seed, functools.partial(start, job))
        for job in together
    ]
    train_all(recipe, later, store, "later")
    for a, b in zip(together, later, strict=True):
        assert same(*(load(job.store.path, "params_final") for job in (a, b)))


def test_a_training_stops_where_it_is_told(recipe, together, tmp_path):
    stopped = run(recipe, tmp_path, until=7)
    for a, b in zip(together, stopped, strict=True):
        assert same(load(a.store.path, "middle")["params"],
                    load(b.store.path, "params_final")["params"])  # fmt: skip


def test_an_interrupted_training_goes_on_to_the_same_bytes(recipe, together, tmp_path):
    calls = []

    def interrupt(state):
        calls.append(int(state.step))
        if len(calls) == 6:  # the second network in the second epoch
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path, (norm, interrupt), keep=KEPT)
    assert calls == [0, 0, 5, 5, 7, 7]
    for a, b in zip(together, run(recipe, tmp_path, (norm,), keep=KEPT), strict=True):
        for file in a.store.path.iterdir():
            if file.name != "timing.jsonl":
                assert file.read_bytes() == (b.store.path / file.name).read_bytes(), file.name


@pytest.fixture
def interrupted(recipe, tmp_path):
    """A directory in which the training was interrupted after the checkpoint of step 7."""

    def interrupt(state):
        if int(state.step) == 10:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path, (norm, interrupt), keep=KEPT)
    return tmp_path


@pytest.mark.parametrize(("keep_lines", "missing"), [(0, "0, 5"), (3, "5"), (-5, "0")])
def test_a_log_behind_its_checkpoint_is_refused(recipe, interrupted, keep_lines, missing):
    log = interrupted / "0/metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    kept = lines[:keep_lines] if keep_lines >= 0 else lines[-keep_lines:]
    log.write_text("".join(kept))
    with pytest.raises(UserError, match=rf"has lost its lines of step {missing}[,.].*remove .*/0"):
        run(recipe, interrupted, (norm,), keep=KEPT)


def damage(checkpoint):
    for file in checkpoint.rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")


def test_a_damaged_checkpoint_is_passed_over(recipe, interrupted, together, caplog):
    damage(interrupted / "checkpoints/all/0/7")
    for a, b in zip(together, run(recipe, interrupted, (norm,), keep=KEPT), strict=True):
        assert same(*(load(job.store.path, "params_final") for job in (a, b)))
    assert "the checkpoint of step 7" in caplog.text
    assert "going on from step 5" in caplog.text


def test_damaged_checkpoints_alone_are_refused(recipe, interrupted):
    for step in (5, 7):
        damage(interrupted / f"checkpoints/all/0/{step}")
    with pytest.raises(UserError, match=r"remove .*checkpoints/all/0 to train anew: no checkpoint"):
        run(recipe, interrupted, (norm,), keep=KEPT)


def test_jobs_of_one_seed_see_the_same_batches(recipe):
    feed = recipe.program((3, 4, 3)).feed
    x = np.asarray(next(iter(feed.batches(0, 1))).x)
    x = x.reshape(3, -1) if x.shape[0] == 3 else np.moveaxis(x, x.shape.index(3), 0)
    assert (x[0] == x[2]).all()
    assert (x[0] != x[1]).any()


def test_networks_that_start_at_several_steps_do_not_train_together(recipe, tmp_path):
    a, b = jobs(recipe, tmp_path)
    late = b._replace(start=lambda: recipe.initial(1)._replace(step=np.int32(5)))
    with pytest.raises(ValueError, match=r"start at one step, not at \[0, 5\]"):
        train_all(recipe, [a, late], Store(tmp_path, recipe.config), "all")


def test_the_line_between_two_networks_ends_in_them(recipe, together):
    a, b = (load(job.store.path, "params_final") for job in together)
    weights = [(saved["params"], saved.get("state", {})) for saved in (a, b)]
    line = measure_line(recipe, *weights, points=3, split="train", barrier_of="loss")
    for network, loss in zip(weights, line["train/loss"][::2], strict=True):
        assert recipe.evaluate_train(*network)["loss"] == loss
    assert recipe.evaluate_train(*weights[0])["n"] == recipe.dataset.num_train
    losses = line["train/loss"]
    assert line["barrier"] == pytest.approx(max(losses) - (losses[0] + losses[-1]) / 2)
