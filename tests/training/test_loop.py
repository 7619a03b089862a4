import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import training
from ntk_prune.checkpoint import Checkpoints


def assert_bitwise(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_epochs_are_recorded(problem):
    problem.rate = training.learning_rate(0.1, 5, "step", drops=(4,))
    problem.optimizer = training.sgd(problem.rate)
    epochs = list(problem.fit(5))
    assert [e.step for e in epochs] == [2, 4, 5]
    assert [e.epoch for e in epochs] == [1.0, 2.0, 2.5]
    np.testing.assert_allclose([e.learning_rate for e in epochs], [0.1, 0.1, 0.01], rtol=1e-6)
    assert all(e.images_per_second > 0 and 0 <= e.accuracy <= 1 for e in epochs)
    assert all(type(v) is float for e in epochs for v in (e.loss, e.accuracy, e.learning_rate))


def test_loss_and_accuracy_are_the_means_over_the_epochs_steps(problem):
    """Each step by hand, outside the loop."""
    step = training.make_train_step(problem.model, problem.optimizer, problem.prepare)
    state, seen = problem.create(), []
    for rows in problem.order(0):
        batch = training.Examples(
            problem.x[rows], problem.y[rows], jnp.arange(8), jax.random.key(7)
        )
        state, metrics = step(state, batch, None)
        seen.append((float(metrics["loss"]), float(metrics["accuracy"])))
    epoch = problem.train(2)
    np.testing.assert_allclose((epoch.loss, epoch.accuracy), np.mean(seen, 0), rtol=1e-5)


@pytest.mark.parametrize("parallel", ["pmap", "jit"])
def test_an_incomplete_last_batch_is_a_step_of_its_own(problem, parallel):
    """20 images in steps of 8, 8 and 4, on four devices, as one by one without the loop."""
    problem.order = lambda epoch: np.append(np.arange(20), [-1] * 4).reshape(3, 8)
    epochs = list(problem.fit(4, parallel=parallel, steps_per_call=2))
    assert [e.step for e in epochs] == [3, 4]
    step = jax.jit(training.make_train_step(problem.model, problem.optimizer, problem.prepare))
    state, losses = problem.create(), []
    for rows in (slice(0, 8), slice(8, 16), slice(16, 20), slice(0, 8)):
        x, y = jnp.asarray(problem.x[rows]), jnp.asarray(problem.y[rows])
        batch = training.Examples(x, y, jnp.arange(len(y)), jax.random.key(7))
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(epochs[0].loss, np.mean(losses[:3]), rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), epochs[-1].state, state
    )


def test_the_network_learns(problem):
    epochs = list(problem.fit(60, num_devices=1))
    assert epochs[-1].loss < 0.3 * epochs[0].loss


def test_the_given_state_survives_and_training_is_reproducible(problem):
    state = problem.create()
    for how in ({"num_devices": 1}, {"parallel": "jit", "num_devices": 1}, {}):
        first = problem.train(4, state, **how).state
        assert_bitwise(problem.train(4, state, **how).state, first)


@pytest.mark.parametrize("stop", [2, 3])
def test_a_restored_run_ends_bitwise_where_the_uninterrupted_one_does(problem, tmp_path, stop):
    """Stopped after an epoch, and in the middle of one."""
    whole = problem.train(6)
    with Checkpoints(tmp_path) as checkpoints:
        for epoch in problem.fit(stop):
            checkpoints.save(epoch.step, epoch.state)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(problem.create())
    assert int(restored.step) == stop
    rest = problem.train(6, restored)
    assert_bitwise(rest.state, whole.state)
    assert (rest.step, rest.loss, rest.accuracy) == (6, whole.loss, whole.accuracy)


def test_a_finished_state_trains_no_further(problem):
    state = problem.train(4).state
    assert list(problem.fit(4, state)) == []


@pytest.mark.parametrize("steps_per_call", [1, 2])
@pytest.mark.parametrize("bad_step", [0, 2, 3])
def test_a_non_finite_loss_stops_and_names_the_step(problem, bad_step, steps_per_call):
    good = problem.prepare
    problem.prepare = lambda key, step, index, x: good(key, step, index, x) / (step != bad_step)
    with pytest.raises(FloatingPointError, match=f"loss is nan at step {bad_step};"):
        problem.train(6, steps_per_call=steps_per_call)


def test_the_progress_bar_is_silent_without_a_terminal(problem, capfd):
    problem.train(2)
    assert capfd.readouterr() == ("", "")
