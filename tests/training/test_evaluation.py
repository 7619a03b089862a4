import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_prune import training
from ntk_prune.types import Model


def make_evaluate(problem, batch_size=500, devices=None, rows=slice(None)):
    x, y = problem.x[rows], problem.y[rows]
    whole = training.every_example(x, y, batch_size, devices)
    return training.make_evaluate(problem.model, whole, normalise, devices)


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
    evaluate = make_evaluate(problem, batch_size, devices)
    result = evaluate(problem.params, state)
    assert result["n"] == 20
    assert result["accuracy"] == accuracy
    assert result["loss"] == pytest.approx(loss, rel=1e-5)
    assert all(type(v) in (int, float) for v in result.values())


def test_the_batch_does_not_enter_the_statistics(problem, reference):
    """One image alone gets the logits that it gets among others."""
    state, _, _ = reference
    losses = [
        make_evaluate(problem, rows=slice(i, i + 1))(problem.params, state)["loss"]
        for i in range(3)
    ]
    together = make_evaluate(problem, rows=slice(3))
    assert together(problem.params, state)["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_trained_state_can_be_evaluated_between_epochs(problem):
    evaluate = make_evaluate(problem, 8)
    results = [evaluate(e.state.params, e.state.model_state) for e in problem.fit(8)]
    assert len({r["loss"] for r in results}) == 4


def test_mean_iou_and_accuracy_of_dense_labels():
    """Against counting by hand; 255 is not labelled, a class that never occurs does not count."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(7, 4, 4, 5)).astype(np.float32)
    y = rng.integers(0, 4, (7, 4, 4))
    y[rng.random(y.shape) < 0.2] = 255
    x[..., 4] = -9  # predicted nowhere
    logits = Model(None, lambda params, state, x, *, train: (x, state))  # type: ignore
    whole = training.every_example(x, y, 3)
    result = training.make_evaluate(logits, whole, lambda x: x)({}, {})
    valid, predicted = y != 255, x.argmax(-1)
    ious = []
    for c in range(4):
        both = ((y == c) & (predicted == c)).sum()
        either = (valid & ((y == c) | (predicted == c))).sum()
        ious.append(both / either)
    assert result["miou"] == pytest.approx(np.mean(ious), rel=1e-6)
    assert result["accuracy"] == pytest.approx((predicted == y)[valid].mean(), rel=1e-6)
    assert result["n"] == 7
