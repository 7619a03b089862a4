import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune.training import make_evaluate


def normalise(x):
    return x.astype(jnp.float32) / 128 - 1


@pytest.fixture
def reference(problem):
    """Loss and accuracy of all images at once, in numpy."""
    state = jax.tree.map(lambda s: s + 0.1, problem.state)
    logits, _ = problem.model.apply(problem.params, state, normalise(problem.x), train=False)
    logits = np.asarray(logits, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -log_p[np.arange(20), problem.y].mean()
    return state, loss, (logits.argmax(1) == problem.y).mean()


@pytest.mark.parametrize("num_devices", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 3, 7, 8, 20, 500])
def test_every_image_counts_exactly_once(problem, reference, batch_size, num_devices):
    state, loss, accuracy = reference
    devices = jax.devices()[:num_devices]
    evaluate = make_evaluate(problem.model, problem.x, problem.y, normalise, batch_size, devices)
    result = evaluate(problem.params, state)
    assert result["n"] == 20
    assert result["accuracy"] == accuracy
    assert result["loss"] == pytest.approx(loss, rel=1e-5)
    assert all(type(v) in (int, float) for v in result.values())


def test_the_batch_does_not_enter_the_statistics(problem, reference):
    """One image alone gets the logits that it gets among others."""
    state, _, _ = reference
    losses = [
        make_evaluate(problem.model, problem.x[i : i + 1], problem.y[i : i + 1], normalise)(
            problem.params, state
        )["loss"]
        for i in range(3)
    ]
    together = make_evaluate(problem.model, problem.x[:3], problem.y[:3], normalise)
    assert together(problem.params, state)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_trained_state_can_be_evaluated_between_epochs(problem):
    evaluate = make_evaluate(problem.model, problem.x, problem.y, normalise, 8)
    results = [evaluate(e.state.params, e.state.state) for e in problem.fit(8)]
    assert len({r["loss"] for r in results}) == 4
